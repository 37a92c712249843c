"""Facts about this machine that need no torch."""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil

from goldilocks.core.arithmetic import processor_entry


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name."""
    return processor_entry("model name") or platform.processor() or platform.machine()


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def describe() -> dict[str, Any]:
    """The processor, its cores and the memory in bytes."""
    return {"processor": processor(), "cores": cores(), "memory": psutil.virtual_memory().total}
