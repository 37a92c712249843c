"""A directory as source: `corpus.txt`, and `gpt2/` with `vocab.json`, `merges.txt` and `model.safetensors`.

That is the layout of a checkout from a model hub beside a text. Where the directory lies differs from machine to
machine, so its path is no provenance: what is in it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.common import files
from stages.common.cli import UserError
from stages.sources.layout import (
    CORPUS,
    TOKENIZER,
    TOKENIZER_FILES,
    Origin,
    describe,
    readable_text,
    write_checkpoint,
)
from stages.survey.extract import extract
from stages.survey.folders import LocalFolder
from stages.survey.locate import Checkpoint
from stages.survey.ranges import Tally

MODEL = "gpt2"
WEIGHTS = "model.safetensors"


def fill(folder: Path, source: Path) -> list[Origin]:
    """Bring text, tokenizer and norm tensors from `source` to `folder` and say what they are.

    Raises:
        UserError: a line for each file that is missing; or if one is unusable.
    """
    if not source.is_dir():
        raise UserError(f"inputs.source = {source}: neither 'embedded', 'hub', nor an existing directory")
    wanted = [source / CORPUS, *(source / MODEL / name for name in (*TOKENIZER_FILES, WEIGHTS))]
    missing = [path for path in wanted if not path.is_file()]
    if missing:
        raise UserError(*(f"{path}: no such file; inputs.source = {source} must hold it" for path in missing))
    files.write_text(folder / CORPUS, readable_text((source / CORPUS).read_bytes(), str(source / CORPUS)))
    (folder / TOKENIZER).mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / MODEL / name, folder / TOKENIZER / name)
    found = extract(Checkpoint(MODEL, LocalFolder(source / MODEL, Tally()), WEIGHTS))
    write_checkpoint(folder, found, "local directory")
    return [describe(path, path.relative_to(source).as_posix(), "local directory", "as found") for path in wanted]
