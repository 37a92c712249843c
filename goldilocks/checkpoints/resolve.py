"""Resolve a user's `[NAME=]WHERE` to a checkpoint: a path, an address, or a repository on a model hub."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.folders import INDEX, SAFETENSORS, Folder, FsspecFolder, HttpFolder, LocalFolder
from goldilocks.core.cli import UserError, redacted

READ = (SAFETENSORS, SAFETENSORS + INDEX)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
NO_NAMES = ("", ".", "..")  # a checkpoint's name becomes that of a folder
FILES = "|".join(map(re.escape, (*PICKLES, SAFETENSORS)))  # with such an end it is a file that is not there
HUB = re.compile(rf"(?!.*({FILES})\Z)(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://.+", re.DOTALL)


class Checkpoint(NamedTuple):
    """A model's name, the folder that holds it, and the file in it that is meant (None: whichever there is)."""

    name: str
    folder: Folder
    file: str | None


def refuse_pickle(where: str) -> None:
    """Refuse a file with the name of a pickle.

    Raises:
        UserError: if it has one.
    """
    if where.endswith(PICKLES):
        raise UserError(
            f"{where}: a pickle, which can run any code when it is opened; where you trust it, convert it with "
            "transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER) writes safetensors"
        )


def _named(file: str | None, folder: str, given: str) -> str:
    """A model's name: the user's, else that of its file, or of its folder if the file has a standard name."""
    if given:
        if given in NO_NAMES or not given.isprintable():
            raise UserError(f"{given}: no name for a checkpoint")
        return given
    stem = (file or "").removesuffix(INDEX).removesuffix(SAFETENSORS)
    name = stem if stem and stem != "model" else PurePosixPath(folder).name or folder
    name = "".join(c if c.isprintable() else "?" for c in name).replace("/", "_")
    return "model" if name in NO_NAMES else name


def is_here(place: str) -> bool:
    """Whether there is such a file or folder on this machine."""
    try:
        return Path(place).exists()
    except (OSError, ValueError):  # no path can be that
        return False


def split_argument(argument: str) -> tuple[str, str]:
    """NAME (perhaps empty) and WHERE of `[NAME=]WHERE`; a path that holds a = is a path."""
    match = re.fullmatch(r"(?P<name>[^=/:]+)=(?P<where>.+)", argument, re.DOTALL)
    return (match["name"], match["where"]) if match and not is_here(argument) else ("", argument)


def is_elsewhere(argument: str) -> bool:
    """Whether `[NAME=]WHERE` has the form of an address or of a repository's name; nobody is asked."""
    _, place = split_argument(argument)
    return bool(URL.fullmatch(place) or HUB.fullmatch(place))


def is_local(argument: str) -> bool:
    """Whether `[NAME=]WHERE` is a file or folder of this machine."""
    return is_here(split_argument(argument)[1])


def origin(argument: str) -> str:
    """Where a checkpoint came from, as provenance records it, without the path: it differs between machines."""
    return "a file of this machine" if is_local(argument) else redacted(split_argument(argument)[1])


def resolve(argument: str, client: Client) -> Checkpoint:
    """The checkpoint that a user's `[NAME=]WHERE` means.

    WHERE is a path if there is such a file or folder, else an address with a scheme, else `owner/name[@revision]` on a
    hub.

    Raises:
        UserError: if it is none of these, or of a kind that is not read.
    """
    given, place = split_argument(argument)
    if not place:
        raise UserError("a checkpoint's name is empty; write . for the current folder")
    path = Path(place)
    if is_here(place):
        if path.is_dir():
            return Checkpoint(_named(None, str(path.resolve()), given), LocalFolder(path, client.tally), None)
        refuse_pickle(place)
        if not place.endswith(READ):
            raise UserError(f"{place}: neither a safetensors file (*{READ[0]}) nor an index of some (*{READ[1]})")
        file = path.name
        return Checkpoint(_named(file, str(path.resolve().parent), given), LocalFolder(path.parent, client.tally), file)
    if match := URL.fullmatch(place):
        return _at_address(place, match["scheme"].lower(), given, client)
    if match := HUB.fullmatch(place):
        from goldilocks.checkpoints.hub import HubFolder  # imports huggingface_hub

        folder = HubFolder(match["repository"], match["revision"] or "", client)
        return Checkpoint(_named(None, match["repository"], given), folder, None)
    raise UserError(
        f"{redacted(place)}: no such file or folder; a repository on the hub is owner/name or owner/name@revision"
    )


def _at_address(url: str, scheme: str, given: str, client: Client) -> Checkpoint:
    url = url if "?" in url else url.rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"{redacted(url)}: {error}") from None
    if parts.username or parts.password:
        raise UserError("an address that holds a password can't be read: it would stand in tables and messages")
    if parts.fragment:
        raise UserError(f"{redacted(url)}: an address with a # leads into a page; give that of the file")
    url, mark, rest = url.partition("?")
    query = mark + rest
    if query and not (scheme in ("http", "https") and url.endswith(SAFETENSORS)):
        raise UserError(f"{url}: an address with a query must be that of one safetensors file (http…{SAFETENSORS}?…)")
    refuse_pickle(url)
    folder, _, file = url.rpartition("/") if url.endswith(READ) else (url, "", None)
    name = _named(file, urlsplit(folder).path.strip("/") or parts.netloc, given)
    if scheme in ("http", "https"):
        return Checkpoint(name, HttpFolder(folder, client, query), file)
    return Checkpoint(name, FsspecFolder(folder, client.tally), file)
