"""What it costs to survey the norms of a GPT-2 of full size, beside loading the model with transformers.

The checkpoint has GPT-2 small's 160 tensors, the norms random, the rest zeros that take no disk (holes). Whole
processes are measured, the start of Python included.

examples:
  python -m benchmarks.norms
  python -m benchmarks.norms --repeats 9
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import stages  # noqa: F401  before NumPy: it pins what NumPy computes with

# isort: split
import numpy as np

from benchmarks import ENVIRONMENT
from stages.common import cli, machine

ROOT = Path(__file__).resolve().parent.parent
BLOCKS, WIDTH, CONTEXT, VOCABULARY = 12, 768, 1024, 50257
DELAY = 0.05  # s, added to every answer of the distant server
CONFIG = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": BLOCKS, "n_embd": WIDTH, "n_head": 12,
    "n_positions": CONTEXT, "vocab_size": VOCABULARY,
}  # fmt: skip
AnyServer = TypeVar("AnyServer", bound=ThreadingHTTPServer)
LOAD = "import sys; from transformers import GPT2Model; GPT2Model.from_pretrained(sys.argv[1])"


class Cost(NamedTuple):
    """What one process cost: seconds from start to end, and its peak memory in bytes."""

    seconds: float
    memory: int


def shapes(vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """GPT-2 small's tensors, in the order of their names as in its file."""
    found: dict[str, tuple[int, ...]] = {"wte.weight": (vocabulary, WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    for i in range(BLOCKS):
        found[f"h.{i}.attn.bias"] = (1, 1, CONTEXT, CONTEXT)
        for name, inner, outer in (
            ("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH), ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):  # fmt: skip
            found |= {f"h.{i}.{name}.weight": (inner, outer), f"h.{i}.{name}.bias": (outer,)}
        found |= {f"h.{i}.{norm}.{kind}": (WIDTH,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
    found |= {f"ln_f.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    yield from sorted(found.items())


def write_model(folder: Path, vocabulary: int) -> int:
    """Write config.json and a sparse model.safetensors; returns its size in bytes."""
    header, norms, offset = {}, {}, 0
    for name, shape in shapes(vocabulary):
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        if "ln_" in name:
            norms[offset] = size // 4
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": vocabulary}), "utf-8")
    draw = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        start = handle.tell()
        for at, n in norms.items():
            handle.seek(start + at)
            handle.write(draw.normal(0.3, 0.1, n).astype("<f4").tobytes())
        handle.truncate(start + offset)
    return start + offset


def span(asked: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last that a `Range:` header asks for of so many; None if it is none."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
    return (int(found[1]), min(int(found[2]) + 1, size)) if found else None


class Server(ThreadingHTTPServer):
    """Serves a folder by ranges, counts, and answers `delay` seconds late."""

    daemon_threads = True

    def __init__(self, folder: Path, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.delay = folder, delay
        self.requests = self.sent = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """One connection to it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

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
        with self.server.lock:
            self.server.requests += 1
            self.server.sent += len(contents)


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


def cost(*command: str) -> Cost:
    """Run a command and measure it.

    Raises:
        UserError: if it fails.
    """
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - this interpreter and modules of ours
            [sys.executable, *command], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise cli.UserError(f"{' '.join(command)}: {errors.read().decode(errors='replace').strip()[-500:]}")
    return Cost(seconds, usage.ru_maxrss * 1024)


def line(what: str, costs: list[Cost], more: str = "") -> str:
    """A row of the table."""
    seconds = sorted(each.seconds for each in costs)
    spread = f"{median(seconds):.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f})"
    return f"{what:<52}{spread:>22}{median(each.memory for each in costs) / 1e6:>8.0f} MB  {more}".rstrip()


def rows(folder: Path, repeats: int) -> Iterator[str]:
    """Measure, one row after another."""
    out = str(folder / "out.parquet")
    for name, vocabulary in (("small", VOCABULARY), ("large", 30 * VOCABULARY)):
        size = write_model(folder / name, vocabulary)
        survey = ("-m", "stages.layernorm", f"gpt2-{name}={folder / name}")
        for how, more in (("statistics", ()), ("and every value to Parquet", ("--out", out))):
            costs = [cost(*survey, *more) for _ in range(repeats)]
            yield line(f"local file of {size / 1e9:.2f} GB, {how}", costs)
    for delay in (0.0, DELAY):
        costs, found = [], set()
        for _ in range(repeats):
            with running(Server(folder / "small", delay)) as server:
                where = f"gpt2-small=http://127.0.0.1:{server.server_port}/model.safetensors"
                costs.append(cost("-m", "stages.layernorm", where))
                found.add(f"{server.requests} requests, {server.sent:,} bytes")
        yield line(f"over HTTP, {1000 * delay:.0f} ms for each answer", costs, " or ".join(sorted(found)))
    yield line("transformers: from_pretrained", [cost("-c", LOAD, str(folder / "small")) for _ in range(repeats)])


def main() -> None:
    parser = cli.parser(__doc__, "benchmarks.norms")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    print(f"norms of GPT-2 small; {machine.processor()}, {machine.cores()} cores, load average {machine.load():.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), arguments.repeats):
            print(row, flush=True)


if __name__ == "__main__":
    cli.run(main)
