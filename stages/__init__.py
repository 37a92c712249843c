"""The pipeline's stages, one module each; `dvc.yaml` says how they hang together."""

from stages.common import arithmetic

arithmetic.pin()  # before anything imports a numerical library
