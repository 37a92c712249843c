"""What is committed, for whoever asks for that: what lies in the folder may have been rebuilt with any parameters."""

from __future__ import annotations

import functools
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from closure import ROOT
from ruamel.yaml import YAML


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def contents(path: str) -> bytes:
    """The last commit's version of a file."""
    return _git("show", f"HEAD:{path}")


def unpack(folder: Path) -> None:
    """Fill a folder with the last commit's files."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


def _keys(tree: Any) -> Any:
    """A nested mapping without its values."""
    return {key: _keys(value) for key, value in tree.items()} if isinstance(tree, dict) else None


@functools.cache
def params_text() -> str:
    """`params.yaml` with the committed values; as it lies in the folder if parameters were added or removed there."""
    here, there = (ROOT / "params.yaml").read_text("utf-8"), contents("params.yaml").decode()
    same = _keys(YAML(typ="safe").load(here)) == _keys(YAML(typ="safe").load(there))
    return there if same else here
