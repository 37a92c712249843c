"""Remove the checkpoints of trainings that DVC has recorded, and list those that remain; `make repro` ends with it.

example: python -m stages.tidy
"""

from __future__ import annotations

from stages.common import cli
from stages.model5 import recorded


def tidy() -> None:
    recorded.prune()
    for folder, size in recorded.unfinished():
        print(
            f"{folder}: a training that DVC has not recorded keeps {size / 1e6:,.0f} MB; "
            "remove the folder if you don't want it"
        )


def main() -> None:
    cli.no_arguments(__doc__, "stages.tidy")
    tidy()


if __name__ == "__main__":
    cli.run(main)
