"""List the stages of both pipelines, and what each is for.

example: python -m stages
"""

from __future__ import annotations

from pathlib import Path

from goldilocks.core import cli, params

PIPELINES = (Path("dvc.yaml"), Path("ablations/dvc.yaml"))


def main() -> None:
    cli.no_arguments(__doc__, "stages")
    for path in PIPELINES:
        print(f"{path}:")
        for name, stage in params.read(path)["stages"].items():
            print(f"  {name:<12} {stage['desc']}")
    print("python -m stages.NAME --help says more; goldilocks lists what is around the pipeline.")


if __name__ == "__main__":
    cli.run(main)
