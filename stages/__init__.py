"""The pipeline's stages, one module each; `dvc.yaml` says how they depend on each other."""

import goldilocks.core.unchanged as _unchanged  # noqa: F401  first: it notes what code is loaded. Binds no `goldilocks`
from goldilocks.core import arithmetic

arithmetic.pin()  # before anything imports a numerical library
