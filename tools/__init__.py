"""Commands around the pipeline: configure it, run it side by side, repair it, verify it."""

import goldilocks.core.unchanged  # noqa: F401  before any other code, to see whether that changes from now on
from goldilocks.core import arithmetic

arithmetic.pin()  # before anything imports a numerical library
