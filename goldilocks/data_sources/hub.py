"""The hub source: Gulliver's Travels from Project Gutenberg, GPT-2's tokenizer and norms from the model hub.

The commit is pinned, and each file that is fetched whole is checked against the hub's own hash.
`goldilocks/checkpoints/` makes all requests, and reads only the header and the norms of the checkpoint.
"""

from __future__ import annotations

import re
from pathlib import Path

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.hub import HubFolder
from goldilocks.core import files
from goldilocks.core.cli import UserError
from goldilocks.data_sources import layout

TITLE = re.compile(r"^Title: Gulliver[’']s Travels", re.MULTILINE)
START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
END = re.compile(r"^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
INSTEAD = "check the connection, or set inputs.source to embedded or to a directory"


def book(contents: bytes, where: str) -> str:
    """The text of Gulliver's Travels without Project Gutenberg's header and footer, which name the licence.

    Raises:
        UserError: if it is another book or a marker is missing.
    """
    text = layout.readable_text(contents, where)
    start, end = START.search(text), END.search(text)
    if not TITLE.search(text) or not start or not end or end.start() <= start.end():
        raise UserError(f"{where}: not Project Gutenberg's Gulliver's Travels (title, start or end marker); {INSTEAD}")
    return text[start.end() : end.start()].strip() + "\n"


def fetch(folder: Path, client: Client, text_url: str, repository: str, revision: str) -> list[layout.Origin]:
    """Write the book, the tokenizer and the norms to `folder`; returns their provenance.

    Raises:
        UserError: if one can't be fetched, with what to do instead.
    """
    corpus, tokenizer = folder / layout.CORPUS, folder / layout.TOKENIZER
    try:
        extraction = layout.fetch_model(folder, repository.split("/")[1], HubFolder(repository, revision, client))
        text = client.text(text_url)
    except UserError as error:
        raise UserError(*(f"{problem}; {INSTEAD}" for problem in error.problems)) from error
    files.write_text(corpus, book(text, text_url))
    return [
        layout.describe(corpus, layout.CORPUS, f"{text_url}, header and footer cut off", "as found"),
        *(layout.describe(tokenizer / name, name, repository, revision) for name in layout.TOKENIZER_FILES),
        layout.write_checkpoint(folder, extraction, repository),
    ]
