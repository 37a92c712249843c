"""The hub source: Gulliver's Travels from Project Gutenberg, GPT-2's tokenizer and norms from the model hub.

Everything goes through `huggingface_hub`, so `HF_ENDPOINT` and `HF_TOKEN` mean what they mean everywhere. Requests
time out and are repeated; what arrives is checked: the commit, the hash of each file that is fetched whole against the
hub's own, every range against what was asked for. Of the checkpoint only the header and the norm tensors are read, by
range requests.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, http_backoff  # type: ignore[attr-defined]
from tqdm import tqdm

from stages.common import files, norms
from stages.common.cli import UserError
from stages.sources.layout import CORPUS, TOKENIZER, TOKENIZER_FILES, Origin, describe, readable_text

TITLE = re.compile(r"^Title: Gulliver[’']s Travels", re.MULTILINE)
START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
END = re.compile(r"^\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK.*$", re.MULTILINE)
LARGEST_HEADER = 100_000_000  # the limit of the safetensors format
DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
LONGEST_WAIT = 8.0  # s, between two attempts
INSTEAD = "check the connection, or set inputs.source to embedded or to a directory"


class RemoteFile(NamedTuple):
    """A file on the hub, pinned: where it is, its size in bytes and the hub's hash of it."""

    name: str
    url: str
    size: int
    etag: str


class Client:
    """Requests with a time-out and a bounded number of retries, and errors that say what to do."""

    def __init__(self, timeout: float, retries: int) -> None:
        self.timeout = timeout
        self.retries = retries

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        """The response to a GET, redirects followed.

        Raises:
            UserError: if the server can't be reached, breaks off, or answers with an error.
        """
        try:
            response = http_backoff(
                "GET",
                url,
                headers={"Accept-Encoding": "identity", **(headers or {})},
                timeout=self.timeout,
                max_retries=self.retries,
                max_wait_time=LONGEST_WAIT,
                follow_redirects=True,
            )
            response.raise_for_status()
        except (httpx2.HTTPError, HfHubHTTPError, OSError) as error:
            raise UserError(f"{url}: {_reason(error)}; {INSTEAD}") from error
        return response

    def locate(self, repository: str, revision: str, name: str) -> RemoteFile:
        """Find a file at a commit.

        Raises:
            UserError: if it can't be had, or the hub answers for another commit.
        """
        url = hf_hub_url(repository, name, revision=revision)
        for attempt in range(self.retries + 1):
            try:
                found = get_hf_file_metadata(url, timeout=self.timeout)
                break
            except (httpx2.HTTPError, HfHubHTTPError, OSError) as error:
                if attempt == self.retries or not _may_pass(error):
                    raise UserError(f"{url}: {_reason(error)}; {INSTEAD}") from error
                time.sleep(min(2**attempt, LONGEST_WAIT))
        if found.commit_hash != revision:
            raise UserError(f"{url}: the hub answered for commit {found.commit_hash}; {INSTEAD}")
        if found.size is None or not found.etag:
            raise UserError(f"{url}: the hub names no size or no hash of the file; {INSTEAD}")
        return RemoteFile(name, url, found.size, found.etag)

    def whole(self, file: RemoteFile) -> bytes:
        """All bytes of a file, checked against the hub's hash of it.

        Raises:
            UserError: if they differ from it.
        """
        contents: bytes = self.get(file.url, build_hf_headers()).content
        if len(contents) != file.size or file.etag not in (git_blob_hash(contents), _sha256(contents)):
            raise UserError(f"{file.url}: what arrived is not what the hub lists (size or hash differ); try again")
        return contents

    def span(self, file: RemoteFile, start: int, stop: int) -> bytes:
        """Bytes start … stop - 1 of a file.

        Raises:
            UserError: if the server does not answer with exactly this range of exactly this file.
        """
        response = self.get(file.url, {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"})
        expected = f"bytes {start}-{stop - 1}/{file.size}"
        if response.status_code != 206 or response.headers.get("Content-Range") != expected:
            raise UserError(
                f"{file.url}: asked for {expected}, got status {response.status_code} and "
                f"{response.headers.get('Content-Range')!r}: the server ignores ranges or the file changed; try again"
            )
        contents: bytes = response.content
        if len(contents) != stop - start:
            raise UserError(f"{file.url}: asked for {stop - start} bytes, got {len(contents)}; try again")
        return contents


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).split("For more information")[0].strip() or type(error).__name__


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later: the network broke, or the server is busy or unwell."""
    response = getattr(error, "response", None)
    return response is None or response.status_code in (408, 429, 500, 502, 503, 504)


def _sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def git_blob_hash(contents: bytes) -> str:
    """Git's name for a blob, which hubs use as the hash of small files."""
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents, usedforsecurity=False).hexdigest()


def book(contents: bytes, where: str) -> str:
    """The text of Gulliver's Travels without Project Gutenberg's header and footer, which name the licence.

    Raises:
        UserError: if it is another book or a marker is missing.
    """
    text = readable_text(contents, where)
    start, end = START.search(text), END.search(text)
    if not TITLE.search(text) or not start or not end or end.start() <= start.end():
        raise UserError(f"{where}: not Project Gutenberg's Gulliver's Travels (title, start or end marker); {INSTEAD}")
    return text[start.end() : end.start()].strip() + "\n"


def remote_norms(client: Client, file: RemoteFile) -> dict[str, np.ndarray]:
    """The LayerNorm tensors of a remote safetensors file, read by ranges.

    Raises:
        UserError: if the header is no header, a tensor lies outside the file, or there is no LayerNorm.
    """
    (length,) = struct.unpack("<Q", client.span(file, 0, 8))
    if length > min(LARGEST_HEADER, file.size - 8):
        raise UserError(f"{file.url}: not a safetensors file (a header of {length} bytes in a file of {file.size})")
    base, tensors = 8 + length, {}
    try:
        header = json.loads(client.span(file, 8, base))
        for _, name in tqdm(list(norms.find(list(header))), "norms", unit="tensor", disable=None, delay=2, leave=False):
            entry = header[name]
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), [int(n) for n in entry["shape"]]
            start, stop = map(int, entry["data_offsets"])
            if not 0 <= start < stop <= file.size - base or math.prod(shape) * dtype.itemsize != stop - start:
                raise ValueError(f"tensor {name} does not fit its place")
            contents = client.span(file, base + start, base + stop)
            tensors[name] = np.frombuffer(contents, dtype).reshape(shape)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file.url}: not a safetensors file this can read ({error})") from error
    if not tensors:
        raise UserError(f"{file.url}: no LayerNorm parameters in GPT-2's naming")
    return tensors


def fill(folder: Path, client: Client, text_url: str, repository: str, revision: str) -> list[Origin]:
    """Write the book, the tokenizer and the norms to `folder` and say where they came from."""
    (folder / TOKENIZER).mkdir()
    remote = [client.locate(repository, revision, name) for name in (*TOKENIZER_FILES, "model.safetensors")]
    for file in remote[:-1]:
        (folder / TOKENIZER / file.name).write_bytes(client.whole(file))
    weights = remote[-1]
    local = folder / f"{repository.split('/')[1]}.safetensors"
    files.write_tensors(local, remote_norms(client, weights))
    files.write_text(folder / CORPUS, book(client.get(text_url).content, text_url))
    return [
        describe(folder / CORPUS, CORPUS, f"{text_url}, header and footer cut off", "as found"),
        *(describe(folder / TOKENIZER / name, name, repository, revision) for name in TOKENIZER_FILES),
        describe(local, f"LayerNorm tensors of {weights.name} ({weights.size} bytes)", repository, revision),
    ]
