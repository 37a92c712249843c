"""Starts the processes that measure, one after another, and puts together what they find.

Machines drift. So each variant is measured in rounds, the next in the reverse order, and the rate of matrix products is
measured between any two processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import psutil

from benchmarks import ENVIRONMENT
from benchmarks.sizes import Size
from stages.common import machine
from stages.common.cli import UserError

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ("ours-portable", "ours-fp32", "ours-bf16", "exercise-fp32", "transformers-fp32", "transformers-bf16")
PAIR, WATCHING = "two-at-once", "watching"
NAMES = (*VARIANTS, PAIR, WATCHING)
COMPARED = (
    ("ours-bf16", "exercise-fp32"), ("ours-bf16", "transformers-bf16"),
    ("ours-fp32", "exercise-fp32"), ("ours-fp32", "transformers-fp32"),
)  # fmt: skip
PAIR_BELOW = 4.0  # gigabytes; two of the articles' trainings fit few machines
NO_BF16 = "this processor has no bfloat16 instructions"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check_memory(size: Size) -> None:
    """Refuse a size that does not fit.

    Raises:
        UserError: with what it needs and what there is.
    """
    free = psutil.virtual_memory().available / 1e9
    if free < size.gigabytes:
        raise UserError(
            f"size {size.name}: needs about {size.gigabytes:.0f} GB of memory, {free:.1f} GB are free; close other "
            "programs, or choose --size small"
        )


class Child:
    """A process that does one job; see `benchmarks.child`."""

    def __init__(self, what: str, process: subprocess.Popen[str]) -> None:
        self.what, self.process = what, process

    def ready(self) -> None:
        """Wait for the end of its warm-up."""
        assert self.process.stdout
        if self.process.stdout.readline() != "ready\n":
            self._fail()

    def result(self) -> dict[str, Any]:
        """Let it go on, and wait for its end."""
        printed, _ = self.process.communicate()
        if self.process.returncode:
            self._fail()
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return found

    def go(self) -> None:
        assert self.process.stdin
        with suppress(BrokenPipeError):  # its end is told by `result`
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def _fail(self) -> None:
        code = self.process.wait()
        why = "was killed, most likely because memory ran out" if code == -9 else f"ended with code {code}, see above"
        raise UserError(f"{self.what}: its process {why}")


@contextmanager
def child(what: str, **job: Any) -> Iterator[Child]:
    """A process that does `job`; killed if it still runs at the end."""
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(job)]
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
        command, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT, cwd=ROOT
    ) as process:
        try:
            yield Child(what, process)
        finally:
            process.kill()


class Plan(NamedTuple):
    """What to measure, and how.

    Args:
        only: names among NAMES.
        steps: timed steps of each variant; 0 for the size's own number.
        side: of the matrices whose products' rate is measured.
    """

    threads: int
    only: tuple[str, ...] = NAMES
    steps: int = 0
    side: int = 4096


class Measuring:
    """One run on this machine."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loads = [machine.load()]
        with child("machine", kind="machine") as process:
            self.machine = machine.describe() | process.result() | {"threads": plan.threads}
        self.precisions = ["portable", "fp32", *(["bf16"] if self.machine["bf16"] else [])]
        self.rates: list[dict[str, float]] = []

    def everything(self, sizes: list[Size]) -> dict[str, Any]:
        """Measure at all sizes.

        Raises:
            UserError: if memory is short.
        """
        for size in sizes:
            check_memory(size)
        found = [self.at(size) for size in sizes]
        load = {"before": self.loads[0], "during": [min(self.loads[1:]), max(self.loads[1:])]} if found else {}
        rates = {name: summary([rate[name] for rate in self.rates]) for name in self.precisions if self.rates}
        return {"machine": self.machine, "load": load, "side": self.plan.side, "rates": rates, "sizes": found}

    def at(self, size: Size) -> dict[str, Any]:
        """Measure at one size; what is soonest done comes first."""
        found: dict[str, Any] = {"size": size._asdict() | {"parameters": size.parameters, "tokens": size.tokens}}
        if WATCHING in self.plan.only:
            found["watching"] = self.watching(size)
        if PAIR in self.plan.only and size.gigabytes < PAIR_BELOW:
            found["pair"] = self.pair(size)
        wanted = [name for name in VARIANTS if name in self.plan.only]
        usable = [name for name in wanted if name.rsplit("-", 1)[1] in self.precisions]
        rows = self.variants(size, usable) if usable else {}
        found["rows"] = [rows.get(name) or {"name": name, "skipped": NO_BF16} for name in wanted]
        found["ratios"] = [ratio(rows[ours], rows[peer]) for ours, peer in COMPARED if {ours, peer} <= set(rows)]
        return found

    def variants(self, size: Size, names: list[str]) -> dict[str, dict[str, Any]]:
        """The rows of the table."""
        parts = shares(self.plan.steps or size.steps, size.rounds)
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        rate = self.product_rates()
        for i, steps in enumerate(parts):
            for name in reversed(names) if i % 2 else names:
                say(
                    f"{size.name}: {name}, round {i + 1} of {len(parts)}, {steps} steps after {size.warm_up} to warm up"
                )
                (result,) = self.train([name], size, steps)
                before, rate = rate, self.product_rates()
                precision = name.rsplit("-", 1)[1]
                results[name].append(result | {"rate": mean([before[precision], rate[precision]])})
        return {name: row(name, size, found) for name, found in results.items()}

    def train(self, names: list[str], size: Size, steps: int) -> list[dict[str, Any]]:
        """Time variants, all at once."""
        job = {"kind": "train", "size": size._asdict(), "steps": steps, "threads": self.plan.threads}
        with ExitStack() as stack:
            children = [stack.enter_context(child(f"{size.name}, {name}", variant=name, **job)) for name in names]
            for process in children:
                process.ready()
            for process in children:
                process.go()
            found = [process.result() for process in children]
        self.loads.append(machine.load())
        return found

    def product_rates(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for precision in self.precisions:
            job = {"precision": precision, "side": self.plan.side, "threads": self.plan.threads}
            with child("matrix products", kind="rates", **job) as process:
                found |= process.result()
        self.rates.append(found)
        told = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in found.items())
        say(f"matrix products: {told}; load average {machine.load():.2f}")
        return found

    def pair(self, size: Size) -> dict[str, Any]:
        """Two trainings at once against one alone, measured before and after."""
        steps = self.plan.steps or size.steps
        say(f"{size.name}: two trainings at once, and one alone before and after, {steps} steps each")
        before, together, after = (self.train([VARIANTS[0]] * n, size, steps) for n in (1, 2, 1))
        alone = [sum(result["seconds"]) for result in (*before, *after)]
        both = [sum(result["seconds"]) for result in together]
        return {"steps": steps, "alone": alone, "together": both, "ratios": [s / mean(alone) for s in both]}

    def watching(self, size: Size) -> dict[str, Any]:
        """What recording costs, in the precision one would train in: the small size in portable arithmetic."""
        precision = "portable" if size.width < 512 else self.precisions[-1]
        say(f"{size.name}: what is recorded at a snapshot, {precision}")
        job = {"size": size._asdict(), "precision": precision, "threads": self.plan.threads}
        with child(f"{size.name}, watching", kind="watching", **job) as process:
            return process.result()


def shares(steps: int, rounds: int) -> list[int]:
    """Steps in each round."""
    rounds = min(rounds, steps)
    return [steps // rounds + (i < steps % rounds) for i in range(rounds)]


def summary(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def row(name: str, size: Size, found: list[dict[str, Any]]) -> dict[str, Any]:
    """One variant over its rounds.

    The share of the machine's rate is by round, with the rates before and after it.
    """
    by_round = [median(result["seconds"]) for result in found]
    seconds = summary([s for result in found for s in result["seconds"]])
    shares_of_rate = [size.flops / s / result["rate"] for s, result in zip(by_round, found, strict=True)]
    return {
        "name": name,
        "seconds": seconds,
        "by_round": by_round,
        "steps": sum(len(result["seconds"]) for result in found),
        "tokens_per_second": size.tokens / seconds["median"],
        "flops_per_second": size.flops / seconds["median"],
        "share_of_rate": mean(shares_of_rate),
        "peak": max(result["peak"] for result in found),
        "loss": found[-1]["loss"],
    }


def ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """How many times as fast ours is, over all and round by round, and its memory as a share of the peer's."""
    by_round = [theirs / mine for mine, theirs in zip(ours["by_round"], peer["by_round"], strict=True)]
    speed = {
        "median": peer["seconds"]["median"] / ours["seconds"]["median"],
        "min": min(by_round),
        "max": max(by_round),
    }
    return {"ours": ours["name"], "peer": peer["name"], "speed": speed, "memory": ours["peak"] / peer["peak"]}
