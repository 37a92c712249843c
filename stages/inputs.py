"""Which text, tokenizer and checkpoints is this run about, and where did they come from?

`inputs.source` is `embedded`, `hub`, or a directory. A missing input is an error and is never replaced by another. This
is the only stage that may use the network. Of a checkpoint it fetches only the LayerNorm tensors.

Reads:  what `inputs.source` and `inputs.checkpoints` name; data/local.json, which changes with local checkpoints
Writes: data/inputs/ with corpus.txt, tokenizer/, checkpoints/NAME/ for each checkpoint, and provenance.json

example: python -m stages.inputs
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.load import load
from goldilocks.checkpoints.resolve import origin
from goldilocks.config.inputs import Settings
from goldilocks.core import bpe, cli, files, params
from goldilocks.core.params import Section as Run
from goldilocks.data_sources import directory, embedded, hub, layout

OUTPUT = files.DATA / "inputs"
MODEL5 = "model5"  # what `layernorm` calls its own
IGNORED = Path(".dvcignore")
ALWAYS_IGNORED = (".dvc", ".git", ".hg")


def fetch(folder: Path, settings: Settings, client: Client) -> list[layout.Origin]:
    """Fill `folder` from the source in the settings, with a module of `goldilocks/data_sources/`."""
    if settings.source == "embedded":
        return embedded.fetch(folder, settings.subpackages, settings.vocabulary)
    if settings.source == "hub":
        return hub.fetch(folder, client, settings.text_url, settings.repository, settings.revision)
    return directory.fetch(folder, Path(settings.source))


def is_ignored(name: str) -> bool:
    """Whether DVC would not see a folder of this name, so that it would be lost."""
    patterns = [line for line in IGNORED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in (*ALWAYS_IGNORED, *patterns))


def bring(folder: Path, arguments: list[str], client: Client) -> list[layout.Origin]:
    """Fetch the norms of `inputs.checkpoints` into `folder`; returns their provenance.

    Raises:
        UserError: if one can't be had, or has the name of another or one that DVC ignores.
    """
    origins = []
    for argument in arguments:
        extraction = load(argument, client)
        name = extraction.model
        if name == MODEL5 or (folder / layout.CHECKPOINTS / name).exists():
            raise cli.UserError(f"inputs.checkpoints: {argument}: a second {name}; write NAME={argument}")
        if is_ignored(name):
            raise cli.UserError(f"inputs.checkpoints: {argument}: DVC ignores {name}; write NAME={argument}")
        origins.append(layout.write_checkpoint(folder, extraction, origin(argument)))
    return origins


def provenance(settings: Settings, origins: list[layout.Origin]) -> dict[str, Any]:
    """What `provenance.json` holds: the kind of source and every input's origin, revision, size and SHA-256."""
    kind = settings.source if settings.source in ("embedded", "hub") else "directory"
    return {"source": kind, "inputs": [origin._asdict() for origin in origins]}


def main() -> None:
    cli.no_arguments(__doc__, "stages.inputs")
    settings, _ = params.load("inputs", Settings, Run)
    with files.atomic_directory(OUTPUT) as folder:
        client = Client(timeout=settings.timeout, retries=settings.retries)
        origins = fetch(folder, settings, client) + bring(folder, settings.checkpoints, client)
        bpe.load(folder / layout.TOKENIZER)
        files.write_json(folder / "provenance.json", provenance(settings, origins))


if __name__ == "__main__":
    cli.run(main)
