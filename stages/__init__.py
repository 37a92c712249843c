"""The pipeline's stages, one module each; `dvc.yaml` says how they hang together."""

import goldilocks.core.unchanged  # noqa: F401  before any other code, to see whether that changes from now on
from goldilocks.core import arithmetic

arithmetic.pin()  # before anything imports a numerical library
