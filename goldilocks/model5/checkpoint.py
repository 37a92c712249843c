"""Checkpoints: complete or absent, and used only for the training that wrote them.

    data/checkpoints/seed-0-<key>/       the key is a hash of everything that determines the result
        step-000050/
            state.safetensors            parameters and AdamW's moments
            progress.json                step, processes and their threads; the rows of every table so far, and what
                                         else the outputs need; the SHA-256 of each snapshot so far
            SHA256SUMS                   of the two
        qkv/step-000000.safetensors      the snapshots so far
        outputs.json                     after training: hashes of the outputs, as dvc.lock will record them

The last two checkpoints are kept. The whole folder is removed once DVC has recorded the outputs (`finished.py`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from goldilocks.core import checksums, files
from goldilocks.core.cli import UserError
from goldilocks.model5.finished import CHECKPOINTS

FORMAT = 2
KEPT = 2
STATE, PROGRESS = "state.safetensors", "progress.json"


class DamagedError(Exception):
    """A checkpoint that is not as it was written."""


class Progress(NamedTuple):
    """A sound checkpoint."""

    folder: Path
    step: int
    layout: dict[str, int]
    contents: dict[str, Any]

    def tensors(self) -> dict[str, Tensor]:
        """The state's tensors, each read when it is used."""
        return load_file(self.folder / STATE)


def key(made_by: Mapping[str, Any]) -> str:
    """A short hash of everything that determines a result."""
    text = json.dumps({"format": FORMAT} | dict(made_by), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, name: str, made_by: Mapping[str, Any], folder: Path = CHECKPOINTS) -> None:
        self.folder = folder / f"{name}-{key(made_by)}"
        self.snapshots = self.folder / "qkv"

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """The steps of checkpoints, the oldest first."""
        return sorted(int(folder.name.removeprefix("step-")) for folder in self.folder.glob("step-*"))

    def snapshots_before(self, step: int) -> list[Path]:
        """The files of the snapshots taken so far."""
        found = sorted(self.snapshots.glob("step-*.safetensors"))
        return [path for path in found if int(path.stem.removeprefix("step-")) < step]

    def newest(self) -> Progress | None:
        """The newest undamaged checkpoint. A damaged one is reported and removed, and the one before it is used.

        Raises:
            OSError: if one can't be read; it may be undamaged, so it stays.
        """
        for path in self.folder.glob(".step-*.tmp"):
            files.remove(path)
        while steps := self.steps():
            *others, step = steps
            try:
                return self._read(step)
            except (DamagedError, FileNotFoundError) as error:
                instead = f"step {others[-1]} is used" if others else "none is left, training starts afresh"
                print(f"{self._path(step)}: damaged ({error}); {instead}", file=sys.stderr)
                files.remove(self._path(step))
        return None

    def _read(self, step: int) -> Progress:
        folder = self._path(step)
        if other := checksums.differing(folder):
            raise DamagedError(f"{other[0]} is missing or has another checksum")
        found = files.read_json(folder / PROGRESS)
        if found["step"] != step:
            raise DamagedError(f"it is that of step {found['step']}")
        for name, digest in found["snapshots"].items():
            path = self.snapshots / name
            if not path.is_file() or files.sha256(path) != digest:
                raise DamagedError(f"snapshot {name} is missing or has another checksum")
        return Progress(folder, step, found["layout"], found["contents"])

    def save(
        self, step: int, layout: Mapping[str, int], tensors: Mapping[str, Tensor], contents: Mapping[str, Any]
    ) -> None:
        """Write the checkpoint of the state after `step` updates, and remove all but the last two.

        Raises:
            UserError: if it can't be written; earlier ones stay.
        """
        try:
            snapshots = {path.name: files.sha256(path) for path in self.snapshots_before(step)}
            progress = {"step": step, "layout": layout, "snapshots": snapshots, "contents": contents}
            with files.atomic_directory(self._path(step)) as folder:
                save_file(dict(tensors), folder / STATE)
                (folder / PROGRESS).write_text(json.dumps(progress), "utf-8")
                checksums.seal(folder)
        except (OSError, SafetensorError) as error:
            raise self._failure(step, tensors, error) from error
        for old in self.steps()[:-KEPT]:
            files.remove(self._path(old))

    def _failure(self, step: int, tensors: Mapping[str, Tensor], error: Exception) -> UserError:
        needed = sum(tensor.nbytes for tensor in tensors.values())
        steps = [other for other in self.steps() if other != step]
        kept = f"the one of step {steps[-1]} stays" if steps else "there is none before it"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return UserError(
            f"{self._path(step)}: the checkpoint could not be written: {reason}; it needs {needed / 1e6:,.1f} MB in a "
            f"folder that can be written to ({_free(self.folder) / 1e6:,.1f} MB are free there); {kept}"
        )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
