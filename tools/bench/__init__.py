"""How fast Model 5 trains and norms are surveyed on this machine, beside transformers.

Informative only: no stage reads it, and no output of the pipeline depends on it.
"""

import os

ENVIRONMENT = dict(os.environ)
"""The user's own, kept before anything imports `stages`, which changes it for this process."""
