"""Which text, tokenizer and checkpoints is this run about, and where did they come from?

`inputs.source` says: `embedded`, `hub`, or a directory. Nothing is ever substituted for what was asked for. This is the
only stage that may use the network, and it brings of a checkpoint its LayerNorm tensors only.

Reads:  what `inputs.source` and `inputs.checkpoints` name; data/local.json, which changes as those on this machine do
Writes: data/inputs/ with corpus.txt, tokenizer/, checkpoints/NAME/ for each checkpoint, and provenance.json

example: python -m stages.inputs
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from stages.common import bpe, cli, files, params
from stages.sources import directory, embedded, hub, layout
from stages.survey.client import Client, redacted
from stages.survey.ranges import Tally
from stages.survey.visit import origin, visit

OUTPUT = files.DATA / "inputs"
MODEL5 = "model5"  # what `layernorm` calls its own
IGNORED = Path(".dvcignore")
ALWAYS_IGNORED = (".dvc", ".git", ".hg")


class Settings(params.Section):
    source: str = Field(min_length=1)
    """`embedded`, `hub`, or the path of a directory (relative to the project's folder, or absolute)."""

    subpackages: list[str] = Field(min_length=1)
    """NumPy subpackages whose docstrings make the embedded text."""

    vocabulary: int = Field(ge=257, le=65_536)
    """Tokens of the BPE trained on the embedded text: the 256 bytes, the end of text, and merges."""

    text_url: str = Field(pattern=r"^https?://")
    """Where `hub` gets Gulliver's Travels."""

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """Repository on the model hub where `hub` gets tokenizer and checkpoint."""

    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of that repository."""

    checkpoints: list[str]
    """More checkpoints whose norms to survey, each as the command `stages.layernorm` takes them."""

    timeout: float = Field(gt=0, le=600)
    """Seconds to wait for a server's answer."""

    retries: int = Field(ge=0, le=10)
    """How often a failed request is repeated, waiting longer each time."""

    @field_validator("subpackages")
    @classmethod
    def _inside_numpy(cls, names: list[str]) -> list[str]:
        if not all(name.isidentifier() for name in names):
            raise ValueError("every entry must be the name of a subpackage, such as 'linalg'")
        return names

    @field_validator("checkpoints")
    @classmethod
    def _without_signatures(cls, arguments: list[str]) -> list[str]:
        if any("://" in argument and redacted(argument) != argument for argument in arguments):
            raise ValueError("what follows ? may be a signature, and dvc.lock and the report would show it")
        return arguments


class Run(params.Section):
    """This stage sees nothing of `run:`."""


def fill(folder: Path, settings: Settings, client: Client) -> list[layout.Origin]:
    """Fill `folder` from the source asked for; see `stages/sources/` for each."""
    if settings.source == "embedded":
        return embedded.fill(folder, settings.subpackages, settings.vocabulary)
    if settings.source == "hub":
        return hub.fill(folder, client, settings.text_url, settings.repository, settings.revision)
    return directory.fill(folder, Path(settings.source))


def is_ignored(name: str) -> bool:
    """Whether DVC would not see a folder of this name, so that it would be lost."""
    patterns = [line for line in IGNORED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*ALWAYS_IGNORED, *patterns))


def bring(folder: Path, arguments: list[str], client: Client) -> list[layout.Origin]:
    """Bring the norms of `inputs.checkpoints` to `folder` and say where they came from.

    Raises:
        UserError: if one can't be had, or has the name of another or one that DVC ignores.
    """
    origins = []
    for argument in arguments:
        found = visit(argument, client)
        if found.model == MODEL5 or (folder / layout.CHECKPOINTS / found.model).exists():
            raise cli.UserError(f"inputs.checkpoints: {argument}: a second {found.model}; write NAME={argument}")
        if is_ignored(found.model):
            raise cli.UserError(f"inputs.checkpoints: {argument}: DVC ignores {found.model}; write NAME={argument}")
        origins.append(layout.write_checkpoint(folder, found, origin(argument)))
    return origins


def provenance(settings: Settings, origins: list[layout.Origin]) -> dict[str, Any]:
    """What `provenance.json` holds: the kind of source and every input's origin, revision, size and SHA-256."""
    kind = settings.source if settings.source in ("embedded", "hub") else "directory"
    return {"source": kind, "inputs": [origin._asdict() for origin in origins]}


def main() -> None:
    cli.no_arguments(__doc__, "stages.inputs")
    settings, _ = params.load("inputs", Settings, Run)
    with files.atomic_directory(OUTPUT) as folder:
        client = Client(Tally(), settings.timeout, settings.retries)
        origins = fill(folder, settings, client) + bring(folder, settings.checkpoints, client)
        bpe.load(folder / layout.TOKENIZER)
        files.write_json(folder / "provenance.json", provenance(settings, origins))


if __name__ == "__main__":
    cli.run(main)
