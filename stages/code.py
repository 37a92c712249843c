"""Record the code and the conditions of the ablations in a few small files on which every run depends.

At each start DVC reads every dependency of every run; with these files that takes a third of the time. One
file holds the hashes of code and versions. Each condition has a file of its own, so that a new row in `conditions.py`
leaves the others up to date.

Reads:  what the stage `code` of ablations/dvc.yaml depends on
Writes: ablations/code.json and ablations/conditions/<condition>.json, in git

example: python -m stages.code
"""

from __future__ import annotations

from pathlib import Path

from goldilocks.ablations import conditions, runs
from goldilocks.core import cli, files, params

PIPELINE = Path("ablations/dvc.yaml")
OF_CONDITIONS = Path("goldilocks/ablations/conditions.py")


def main() -> None:
    cli.no_arguments(__doc__, "stages.code")
    made_with = params.read(PIPELINE)["stages"]["code"]["deps"]
    files.write_json(runs.CODE, {path: files.sha256(Path(path)) for path in made_with if Path(path) != OF_CONDITIONS})
    for name, condition in conditions.CONDITIONS.items():
        condition.write(name)


if __name__ == "__main__":
    cli.run(main)
