"""Which machines give the same bytes?"""

from __future__ import annotations

import platform

from stages.common.machine import CPUINFO

NEEDED = ("avx2", "fma")
"""The processor's instructions that portable arithmetic is made of."""


def unpromised() -> list[str]:
    """A line for each reason why this machine need not give the bytes that others give; empty if it must."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux":
        return [f"the system is {system}: the same bytes are promised on Linux"]
    if machine != "x86_64":
        return [f"the processor is {machine}: the same bytes are promised on x86_64"]
    words = set(CPUINFO.read_text("utf-8").split()) if CPUINFO.is_file() else set()
    missing = [name for name in NEEDED if name not in words]
    return [f"the processor lacks {' and '.join(missing)}"] if missing else []
