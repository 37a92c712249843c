"""Q and K: the random matrices that the scaling experiments look at.

Source: experiments 1-3 of the article on numerical scaling. Entries are independent N(0, 1). Each matrix has a random
stream of its own, named by the experiment and the dimension, so that another range of dimensions changes no
matrix that is in both.

Reads:  parameters only.
Writes: data/matrices/experiment-{1,2,3}.safetensors with float64 tensors `Q.<n>` and `K.<n>` of shape (rows, n).

example: python -m stages.matrices
"""

from __future__ import annotations

import numpy as np

from goldilocks.config.matrices import Settings
from goldilocks.config.run import RootSeed as Run
from goldilocks.core import arrays, cli, files, params, rng

OUTPUT = files.DATA / "matrices"


def draw_pair(root_seed: int, experiment: int, rows: int, dimension: int) -> dict[str, np.ndarray]:
    """One pair Q, K ~ N(0, 1), each (rows, dimension), float64, as `{"Q.<n>": …, "K.<n>": …}`."""
    return {
        f"{name}.{dimension}": rng.generator(
            root_seed, f"matrices/experiment-{experiment}/{name}", dimension
        ).standard_normal((rows, dimension))
        for name in ("Q", "K")
    }


def main() -> None:
    cli.no_arguments(__doc__, "stages.matrices")
    settings, run = params.load("matrices", Settings, Run)
    dimensions = {
        1: [settings.dimension],
        2: range(settings.first_dimension, settings.last_dimension + 1),
        3: [settings.dimension],
    }
    with files.atomic_directory(OUTPUT) as folder:
        for experiment, sizes in dimensions.items():
            pairs: dict[str, np.ndarray] = {}
            for n in sizes:
                pairs |= draw_pair(run.root_seed, experiment, settings.rows, n)
            arrays.write(folder / f"experiment-{experiment}.safetensors", pairs)


if __name__ == "__main__":
    cli.run(main)
