"""Keep a finished run: its reports, tables, parameters and dvc.lock, in a folder that can be committed elsewhere.

A directory or a checkpoint that the run took its inputs from is named by the hash of what it held, since its path
says nothing on another machine. Run it in the folder of the run, when everything in it is up to date.

example, in a copy of the project: python -m stages.keep ../goldilocks/reports/paper --took "95 min, killed once"
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common import cli, files, machine, params, sealed
from stages.survey.client import Client
from stages.survey.locate import is_local
from stages.survey.ranges import Tally
from stages.survey.visit import fingerprint, load

REPORTS = Path("reports")
KEPT = ("metrics", "plots", "figures", "index.html")
PROVENANCE = files.DATA / "inputs" / "provenance.json"
TEXTS = {".html", ".json", ".lock", ".yaml"}


def named_by_content(provenance: Path) -> str:
    """The SHA-256 over the names and hashes of a run's inputs."""
    inputs = sorted((entry["input"], entry["sha256"]) for entry in files.read_json(provenance)["inputs"])
    return "sha256:" + hashlib.sha256("".join(f"{sha}  {name}\n" for name, sha in inputs).encode()).hexdigest()


def local_paths(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The paths of this machine among the `inputs:` parameters, and what to call each instead."""
    found = {}
    if Path(inputs["source"]).is_dir():
        found[str(inputs["source"])] = named_by_content(PROVENANCE)
    for argument in inputs["checkpoints"]:
        if is_local(argument):
            found[str(argument)] = f"sha256:{fingerprint(load(argument, Client(Tally())))}"
    return found


def renamed(text: str, path: str, name: str) -> str:
    """The text with a path, where it is a value or the start of one, replaced by a name; prose keeps its words.

    YAML begins a long value in a line of its own, and breaks it at spaces.
    """
    words = r"\s+".join(re.escape(word) for word in path.split(" "))
    value = rf"(^ *|: |- |, |[\"'>=\[]){words}(?=$| #|[/\"'<,\]])"
    return re.sub(value, lambda found: found[1] + name, text, flags=re.MULTILINE)


def up_to_date() -> bool:
    """Whether DVC finds nothing to do in the pipeline (the ablations are not part of a run)."""
    return subprocess.run(["dvc", "status", "-q", "dvc.yaml"]).returncode == 0  # noqa: S607


def keep(destination: Path, took: str) -> None:
    """Fill `destination` from the run in the current folder."""
    local = local_paths(params.read()["inputs"])
    with files.atomic_directory(destination) as folder:
        for name in KEPT:
            copy = shutil.copytree if (REPORTS / name).is_dir() else shutil.copyfile
            copy(REPORTS / name, folder / name)
        for path in (Path("params.yaml"), Path("dvc.lock")):
            shutil.copyfile(path, folder / path.name)
        for path in sorted([*files.DATA.glob("*.parquet"), *files.DATA.glob("*.json"), *files.DATA.glob("model5/*/*")]):
            if path.suffix in (".parquet", ".json"):
                target = folder / "tables" / path.relative_to(files.DATA)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        shutil.copyfile(PROVENANCE, folder / PROVENANCE.name)
        for path in folder.rglob("*"):
            if path.suffix in TEXTS:
                text = path.read_text("utf-8")
                for place, name in local.items():
                    text = renamed(text, place, name)
                path.write_text(text, "utf-8")
        made_on = {"system": platform.system(), "python": platform.python_version(), "took": took}
        files.write_json(folder / "machine.json", machine.describe() | made_on)
        sealed.seal(folder)


def main() -> None:
    parser = cli.parser(__doc__, "stages.keep")
    parser.add_argument("destination", type=Path, help="the folder to fill; what it held is replaced")
    parser.add_argument("--took", required=True, help="in words: how long the run took, and what happened on the way")
    arguments = parser.parse_args()
    if not up_to_date():
        raise cli.UserError("this run is not up to date: run make repro first; `dvc status` says what is missing")
    if arguments.destination.exists() and not (arguments.destination / "machine.json").is_file():
        raise cli.UserError(f"{arguments.destination}: exists and is no kept run; name another folder")
    keep(arguments.destination, arguments.took)


if __name__ == "__main__":
    cli.run(main)
