"""The pipeline's stages, one module each; `dvc.yaml` says how they hang together."""

import os

import stages.common.unchanged  # noqa: F401  before any other code, to see whether that changes from now on

# How the numerical libraries wait and share work, set before any of them is imported. NumPy's products must not depend
# on the number of cores (where a stage uses `run.threads`, it starts its own threads), and OpenMP threads that spin for
# long while they wait starve a second training on the same cores, which then takes five times as long; after 2000 spins
# twice as long. Threads that hardly spin make one that is alone slower by half.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
