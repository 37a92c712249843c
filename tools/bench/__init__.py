"""How fast Model 5 trains on this machine, beside GPT-2 of transformers.

Informative only: no stage reads it, and no output of the pipeline depends on it.
"""
