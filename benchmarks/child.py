"""The process that measures one thing: a job as JSON on the command line, its result as JSON on the last line.

A training says `ready` after its warm-up and waits for a line, so that several can start together. Only what is ours
imports `stages`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.sizes import Size

if TYPE_CHECKING:
    from benchmarks.peers import Step


PORTABLE = "ours-portable"


def made(variant: str, size: Size) -> Step:
    """The training step of a variant, named WHOSE-PRECISION."""
    whose, precision = variant.rsplit("-", 1)
    if whose == "ours":
        from benchmarks.ours import ours

        return ours(size, precision)
    from benchmarks import peers

    if whose == "exercise":
        return peers.exercise(size)
    return peers.transformers(size, precision)


def peak_memory() -> int:
    """The most memory this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def wait() -> None:
    """Tell that the warm-up is over, and wait for a line."""
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("whoever started this has gone")


def train(variant: str, size: Size, steps: int, threads: int) -> dict[str, Any]:
    """Time whole steps, each on random tokens of its own."""
    step = made(variant, size)
    import torch  # after `stages`, where that is needed

    torch.set_num_threads(1 if variant == PORTABLE else threads)
    generator = torch.Generator().manual_seed(0)
    shape = size.batch_size, size.context_length + 1
    seconds, loss = [], 0.0
    for i in range(size.warm_up + steps):
        if i == size.warm_up:
            wait()
        windows = torch.randint(0, size.vocabulary, shape, generator=generator)
        start = time.perf_counter()
        loss = step(windows)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[size.warm_up :], "loss": loss, "peak": peak_memory(), "ours": "stages" in sys.modules}


def is_native(job: dict[str, Any]) -> bool:
    """Whether a job is of the project's own code in native arithmetic."""
    variant: str = job.get("variant", f"ours-{job.get('precision')}")
    return variant.startswith("ours-") and variant != PORTABLE


def do(job: dict[str, Any]) -> dict[str, Any]:
    kind = job["kind"]
    if is_native(job):
        from stages.common import arithmetic

        arithmetic.restart_native()
    if kind == "train":
        return train(job["variant"], Size(**job["size"]), job["steps"], job["threads"])
    from benchmarks import ours

    if kind == "machine":
        return ours.machine()
    ours.use_threads(1 if job["precision"] == "portable" else job["threads"])
    if kind == "rates":
        return ours.product_rate(job["precision"], job["side"])
    return ours.watching(Size(**job["size"]), job["precision"])


if __name__ == "__main__":
    print(json.dumps(do(json.loads(sys.argv[1]))))
