"""The cost of surveying the norms of a GPT-2 of full size, beside loading the model with transformers.

The checkpoint is GPT-2 small with all values 0; a second one has thirty times its vocabulary. Whole processes are
measured, the start of Python included.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import TypeVar

from tools.bench.costs import Cost, cost, row

VOCABULARY = 50257
DELAY = 0.05  # s, added to every answer of the distant server
AnyServer = TypeVar("AnyServer", bound=ThreadingHTTPServer)
LOAD = "import sys; from transformers import GPT2Model; GPT2Model.from_pretrained(sys.argv[1])"


def write_model(folder: Path, vocabulary: int) -> int:
    """Write config.json and model.safetensors of a GPT-2, a file of zeros that take no disk; returns its bytes."""
    import torch  # slow to load, and whoever needs only the server does not need it
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(vocab_size=vocabulary)
    with torch.device("meta"):
        tensors = GPT2Model(config).state_dict()
    header, end = {}, 0
    for name, tensor in sorted(tensors.items()):
        start, end = end, end + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    config.save_pretrained(folder)
    with (folder / "model.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + end)
        return handle.seek(0, 2)


def span(asked: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last that a `Range:` header asks for, of so many; None if it is none."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
    return (int(found[1]), min(int(found[2]) + 1, size)) if found else None


class Server(ThreadingHTTPServer):
    """Serves a folder by ranges, counts, and answers `delay` seconds late."""

    daemon_threads = True

    def __init__(self, folder: Path, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.delay = folder, delay
        self.sent: list[int] = []  # the bytes of each answer


class Handler(BaseHTTPRequestHandler):
    """One connection to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer with the part asked for."""
        time.sleep(self.server.delay)
        path = self.server.folder / Path(self.path).name
        size = path.stat().st_size
        wanted = span(self.headers.get("Range", ""), size)
        start, stop = wanted or (0, size)
        with path.open("rb") as handle:
            handle.seek(start)
            contents = handle.read(stop - start)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(len(contents)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(contents)
        self.server.sent.append(len(contents))


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Let a server answer until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def line(what: str, costs: list[Cost], more: str = "") -> str:
    return row(what, [each.seconds for each in costs], median(each.memory for each in costs), more)


def over_http(folder: Path, delay: float) -> tuple[Cost, str]:
    """Survey the model in a folder over HTTP; returns the cost, and how much was asked for, in words."""
    with running(Server(folder, delay)) as server:
        where = f"gpt2-small=http://127.0.0.1:{server.server_port}/model.safetensors"
        found = cost("-m", "stages.layernorm", where)
        return found, f"{len(server.sent)} requests, {sum(server.sent):,} bytes"


def rows(repeats: int) -> Iterator[str]:
    """Measure, one row after another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, vocabulary in (("small", VOCABULARY), ("large", 30 * VOCABULARY)):
            size = write_model(folder / kind, vocabulary)
            survey = ("-m", "stages.layernorm", f"gpt2-{kind}={folder / kind}")
            for how, more in (("statistics", ()), ("every value", ("--out", str(folder / "out.parquet")))):
                costs = [cost(*survey, *more) for _ in range(repeats)]
                yield line(f"local file of {size / 1e9:.2f} GB, {how}", costs)
        for delay in (0.0, DELAY):
            surveys = [over_http(folder / "small", delay) for _ in range(repeats)]
            asked = " or ".join(sorted({more for _, more in surveys}))
            yield line(f"over HTTP, {1000 * delay:.0f} ms for each answer", [found for found, _ in surveys], asked)
        load = [cost("-c", LOAD, str(folder / "small")) for _ in range(repeats)]
        yield line("transformers: from_pretrained", load)
