"""The pipeline's stages, one module each; `dvc.yaml` says how they hang together."""

import stages.common.unchanged  # noqa: F401  before any other code, to see whether that changes from now on
from stages.common import arithmetic

arithmetic.pin()  # before anything imports a numerical library
