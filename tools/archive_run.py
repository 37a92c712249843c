"""Keep a finished run: its reports, tables, parameters and dvc.lock, in a folder that can be committed elsewhere.

Run it in the folder of the run, when everything in it is up to date. Paths of your own inputs stay in what is kept.

example, in a copy of the project: goldilocks archive ../goldilocks/reports/paper --took "95 min, killed once"
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from goldilocks.core import checksums, cli, files, system_info

REPORTS = Path("reports")
KEPT = ("metrics", "plots", "figures", "index.html")
TABLES = ("*.parquet", "*.json", "model5/*/*.parquet", "model5/*/*.json")
PROVENANCE = files.DATA / "inputs" / "provenance.json"


def keep(destination: Path, took: str) -> None:
    """Fill `destination` from the run in the current folder."""
    with files.atomic_directory(destination) as folder:
        for name in KEPT:
            copy = shutil.copytree if (REPORTS / name).is_dir() else shutil.copyfile
            copy(REPORTS / name, folder / name)
        for path in (Path("params.yaml"), Path("dvc.lock"), PROVENANCE):
            shutil.copyfile(path, folder / path.name)
        for path in (path for pattern in TABLES for path in files.DATA.glob(pattern)):
            target = folder / "tables" / path.relative_to(files.DATA)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        made_on = {"system": platform.system(), "python": platform.python_version(), "took": took}
        files.write_json(folder / "machine.json", system_info.describe() | made_on)
        checksums.seal(folder)


def main() -> None:
    parser = cli.parser(__doc__, "tools.archive_run")
    parser.add_argument("destination", type=Path, help="the folder to fill; what it held is replaced")
    parser.add_argument("--took", required=True, help="in words: how long the run took, and what happened on the way")
    arguments = parser.parse_args()
    if arguments.destination.exists() and not (arguments.destination / "machine.json").is_file():
        raise cli.UserError(f"{arguments.destination}: exists and is no kept run; name another folder")
    status = [sys.executable, "-m", "dvc", "status", "-q", "dvc.yaml"]  # not of the ablations
    if subprocess.run(status).returncode:  # noqa: S603
        raise cli.UserError("this run is not up to date: run make repro first; `dvc status` says what is missing")
    keep(arguments.destination, arguments.took)


if __name__ == "__main__":
    cli.run(main)
