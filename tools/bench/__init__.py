"""How fast Model 5 trains and norms are surveyed on this machine, beside transformers.

Informative only: no stage reads it, and no output of the pipeline depends on it.
"""
