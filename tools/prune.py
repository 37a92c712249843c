"""Remove the checkpoints of trainings that DVC has recorded, and list those that remain; `make repro` ends with it.

example: python -m tools.prune
"""

from __future__ import annotations

from goldilocks.core import cli
from goldilocks.model5 import finished


def tidy() -> None:
    finished.prune()
    for folder, size in finished.unfinished():
        print(
            f"{folder}: a training that DVC has not recorded keeps {size / 1e6:,.0f} MB; "
            "remove the folder if you don't want it"
        )


def main() -> None:
    cli.no_arguments(__doc__, "tools.prune")
    tidy()


if __name__ == "__main__":
    cli.run(main)
