"""How fast Model 5 trains on this machine, beside the exercise it rebuilds and GPT-2 of transformers.

Informative only: no stage reads it, and no output of the pipeline depends on it.
"""

import os

ENVIRONMENT = dict(os.environ)
"""The user's own, kept before anything imports `stages`, whose settings are for ours alone."""
