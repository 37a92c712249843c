"""How much may run at once: by the user's word, or by the cores and the memory that are free."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from goldilocks.config import train
from goldilocks.core import files, system_info
from stages import check

TRAININGS = {"train": "train", "control": "train", "rate": "ablate", "ablate": "ablate"}
"""The stages that train, one instance a model, and the section that says how large it is."""

CGROUP = Path("/sys/fs/cgroup")
FLOAT = 4  # bytes
STATE = 4 * FLOAT  # bytes of a parameter: weight, gradient, and AdamW's two moments
ACTIVATIONS = 18  # numbers that a token leaves in a block for the backward pass, as a multiple of the width; measured
LOGITS = 2**25  # of the head's logits, at once at most (`model5.loss`)
BASE = 450e6  # bytes that any training takes, and DVC beside it: Python, torch, pandas; measured


def short_name(stage: str) -> str:
    """A stage's name without the file that declares it."""
    return stage.rpartition(":")[2]


def group(stage: str) -> str:
    """The name of a stage without the instance of its matrix."""
    return short_name(stage).split("@")[0]


def is_training(stage: str) -> bool:
    return group(stage) in TRAININGS


class Limits(NamedTuple):
    """How much may run at once."""

    jobs: int
    """Cores."""
    cores_of_train: int = 1
    """Those that a training of the stage `train` takes; any other takes one."""
    fitting: Callable[[str], int] | None = None
    """Says how many trainings of a stage fit, asked when its first one is about to begin. Without it no more than
    `jobs` stages run at once."""

    def cores(self, stage: str) -> int:
        return min(self.jobs, self.cores_of_train) if group(stage) == "train" else 1

    def share(self, stage: str, trainings: int) -> bool:
        """Whether the last trainings, too few for two rounds, may all begin, also on cores that are taken.

        Three on two cores end after 1.5 times the time of one; two of them and then the third, after twice that time.
        """
        return self.fitting is not None and trainings * self.cores(stage) < 2 * self.jobs

    def trainings(self, first: str) -> int:
        return self.fitting(group(first)) if self.fitting else self.jobs


def parameters(section: Any, vocabulary: int, context_length: int) -> int:
    """As `model5.model.Shape` counts those of a model that a section of the parameters describes, without torch."""
    d = section.width
    return int((vocabulary + context_length + 2) * d + section.blocks * (12 * d**2 + 13 * d))


def memory(section: Any, vocabulary: int, context_length: int) -> float:
    """An estimate of the bytes that all processes of a training take together."""
    processes = getattr(section, "processes", 1)
    tokens = section.batch_size * context_length / (getattr(section, "accumulate", 1) * processes)
    logits = min(LOGITS, tokens * vocabulary) + vocabulary * section.width
    activations = tokens * ACTIVATIONS * section.width * section.blocks
    state = STATE * parameters(section, vocabulary, context_length)
    return float(processes * (BASE + state + FLOAT * (logits + activations)))


def _number(path: Path) -> float:
    """The number in a system file; infinite if there is none, or "max"."""
    try:
        return float(path.read_text("ascii").strip().replace("max", "inf"))
    except (OSError, ValueError):
        return float("inf")


def free_memory(cgroup: Path = CGROUP) -> float:
    """Bytes that processes can still take: of the machine, and of a container with a limit of its own."""
    limit, taken = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    left = limit - taken if limit < float("inf") else limit
    return min(float(psutil.virtual_memory().available), left)


def limits(settings: check.Params, jobs: int | None) -> Limits:
    """What the user says, or what the machine has."""
    cores = max(settings.train.threads, settings.train.processes)
    if jobs is not None:
        return Limits(jobs, cores)
    available = system_info.cores() if sys.platform == "linux" else 1

    @cache
    def fitting(stage: str) -> int:
        if stage == "train" and train.device(settings.train, settings.run) != "cpu":
            return 1  # they would share the GPU
        text = files.read_json(files.DATA / "tokens" / "description.json")
        section = getattr(settings, TRAININGS[stage])
        size, free = memory(section, text["vocabulary"], text["context_length"]), free_memory()
        fit = max(1, int(free // size))
        if fit < available // (cores if stage == "train" else 1):
            print(f"{fit} at once: a training takes about {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} are free")
        return fit

    return Limits(available, cores, fitting)
