"""What is known of this machine without torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from benchmarks.sizes import Size
from stages.common.cli import UserError

CPUINFO = Path("/proc/cpuinfo")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def load() -> float:
    """Mean number of processes that wanted to run over the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, Any]:
    return {"processor": processor(), "cores": cores(), "memory": psutil.virtual_memory().total}


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
