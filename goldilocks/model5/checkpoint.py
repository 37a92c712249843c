"""Checkpoints: complete or absent, and used only for the training that wrote them.

    data/checkpoints/seed-0-<key>/       the key is a hash of everything that determines the result
        step-000050/                     complete once it holds DONE
            state.safetensors            parameters, AdamW's moments, the state of each process's random generator
            progress.json                the rows of every table so far, and what else the outputs need
            manifest.json                format, step, processes and their threads; size and SHA-256 of the two
            DONE                         SHA-256 of the manifest, written last
        qkv/step-000000.safetensors      the snapshots so far; manifests hold their checksums
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

from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.model5.finished import CHECKPOINTS

FORMAT = 1
KEPT = 2
STATE, PROGRESS, MANIFEST, DONE = "state.safetensors", "progress.json", "manifest.json", "DONE"


class DamagedError(Exception):
    """A checkpoint that differs from its manifest."""


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
        """The steps of complete checkpoints, the oldest first."""
        return sorted(int(done.parent.name.removeprefix("step-")) for done in self.folder.glob(f"step-*/{DONE}"))

    def snapshots_before(self, step: int) -> list[Path]:
        """The files of the snapshots taken so far."""
        found = sorted(self.snapshots.glob("step-*.safetensors"))
        return [path for path in found if int(path.stem.removeprefix("step-")) < step]

    def newest(self) -> Progress | None:
        """The newest undamaged checkpoint. A damaged one is reported and removed, and the one before it is used.

        Raises:
            OSError: if one can't be read; it may be undamaged, so it stays.
        """
        for path in [*self.folder.glob(".step-*.tmp"), *self.folder.glob("step-*")]:
            if not (path / DONE).is_file():
                files.remove(path)
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self._read(step)
            except (DamagedError, FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
                others = [other for other in steps if other < step]
                instead = f"step {others[-1]} is used" if others else "none is left, training starts afresh"
                print(f"{self._path(step)}: damaged ({error}); {instead}", file=sys.stderr)
                files.remove(self._path(step))
        return None

    def _read(self, step: int) -> Progress:
        folder = self._path(step)
        if files.sha256(folder / MANIFEST) != (folder / DONE).read_text("utf-8").strip():
            raise DamagedError(f"{MANIFEST} does not fit {DONE}")
        manifest = files.read_json(folder / MANIFEST)
        if manifest["format"] != FORMAT or manifest["step"] != step:
            raise DamagedError(f"format {manifest['format']} and step {manifest['step']}, not {FORMAT} and {step}")
        here = {folder / name: entry for name, entry in manifest["files"].items()}
        there = {self.snapshots / name: entry for name, entry in manifest["snapshots"].items()}
        for path, entry in (here | there).items():
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise DamagedError(f"{path.name} is missing or not {entry['bytes']} bytes long")
            if files.sha256(path) != entry["sha256"]:
                raise DamagedError(f"{path.name} has another checksum")
        return Progress(folder, step, manifest["layout"], json.loads((folder / PROGRESS).read_text("utf-8")))

    def save(
        self, step: int, layout: Mapping[str, int], tensors: Mapping[str, Tensor], contents: Mapping[str, Any]
    ) -> None:
        """Write the checkpoint of the state after `step` updates, and remove all but the last two.

        Raises:
            UserError: if it can't be written; earlier ones stay.
        """
        folder = self._path(step)
        temporary = folder.with_name(f".{folder.name}.tmp")
        try:
            files.remove(temporary)
            temporary.mkdir(parents=True)
            save_file(dict(tensors), temporary / STATE)
            (temporary / PROGRESS).write_text(json.dumps(contents), "utf-8")
            written = {name: _described(temporary / name) for name in (STATE, PROGRESS)}
            manifest = {"format": FORMAT, "step": step, "layout": dict(layout), "files": written}
            manifest["snapshots"] = {path.name: _described(path) for path in self.snapshots_before(step)}
            files.write_json(temporary / MANIFEST, manifest)
            for name in (STATE, PROGRESS):
                files.fsync(temporary / name)
            files.remove(folder)
            temporary.replace(folder)
            files.fsync(self.folder)
            files.write_text(folder / DONE, files.sha256(folder / MANIFEST) + "\n")
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise self._failure(folder, tensors, error) from error
        for old in self.steps()[:-KEPT]:
            files.remove(self._path(old))

    def _failure(self, folder: Path, tensors: Mapping[str, Tensor], error: Exception) -> UserError:
        needed = sum(tensor.nbytes for tensor in tensors.values())
        steps = [step for step in self.steps() if self._path(step) != folder]
        kept = f"the one of step {steps[-1]} stays" if steps else "there is none before it"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return UserError(
            f"{folder}: the checkpoint could not be written: {reason}; it needs {needed / 1e6:,.1f} MB in a folder "
            f"that can be written to ({_free(self.folder) / 1e6:,.1f} MB are free there); {kept}"
        )


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": files.sha256(path), "bytes": path.stat().st_size}


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
