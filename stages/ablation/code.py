"""What code and versions the ablations are made with, as one file that each run depends on in place of two dozen.

DVC reads every dependency of every run at each start; with one in place of two dozen, 65 runs cost it a third of the
time.

Reads:  what the stage `code` of ablations/dvc.yaml depends on
Writes: ablations/code.json, in git

example: python -m stages.ablation.code
"""

from __future__ import annotations

from pathlib import Path

from stages.common import cli, files, params

PIPELINE = Path("ablations/dvc.yaml")
OUTPUT = Path("ablations/code.json")


def main() -> None:
    cli.no_arguments(__doc__, "stages.ablation.code")
    made_with = params.read(PIPELINE)["stages"]["code"]["deps"]
    files.write_json(OUTPUT, {path: files.sha256(Path(path)) for path in made_with})


if __name__ == "__main__":
    cli.run(main)
