"""What is committed, for whoever asks for that: what lies in the folder may have been rebuilt with any parameters."""

from __future__ import annotations

import functools
import io
import subprocess
import tarfile
from pathlib import Path

from closure import ROOT

from goldilocks.core import params
from tools.configure import leaves


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def contents(path: str) -> bytes:
    """The last commit's version of a file."""
    return _git("show", f"HEAD:{path}")


def unpack(folder: Path) -> None:
    """Fill a folder with the last commit's files."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


@functools.cache
def params_text() -> str:
    """`params.yaml` with the committed values; as it lies in the folder if parameters were added or removed there."""
    here, there = (ROOT / "params.yaml").read_text("utf-8"), contents("params.yaml").decode()
    names = ([name for name, _ in leaves(params.parse(text))] for text in (here, there))
    return there if next(names) == next(names) else here
