"""Pin the code paths of the numerical libraries, so that results have the same bytes on any x86-64 processor.

By default each library picks the fastest code for the processor and shares sums among its cores; both decide the last
digits. `pin` is called before any of the libraries is loaded (`stages/__init__.py` does it) and makes them

* compute with AVX2 and FMA only, which every x86-64 processor since about 2015 has,
* on one thread each: processes, and parts of fixed size, share the work,
* with MKL's mode that is independent of processor and vendor (slow: see `goldilocks/model5/products.py`).

`native` arithmetic takes the pins back, for trainings that are too large for one core, or on a GPU.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
NEEDED = ("avx2", "fma")

THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
INSTRUCTIONS = {
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's and SciPy's products and decompositions
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",  # NumPy's loops; all that is beyond AVX2
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's loops
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # torch's oneDNN
    "MKL_CBWR": "COMPATIBLE",  # torch's MKL; its AVX2 branch differs between vendors
}
REFUSED = "NPY_ENABLE_CPU_FEATURES"  # by NumPy, beside the one that disables

NATIVE = "GOLDILOCKS_NATIVE_PROCESS"
TORCH = "2.13.0"
"""The version of torch that the committed results were made with; its builds with and without CUDA give them."""
TORCH_PARTS = ("GCC 13.3", "Math Kernel Library Version 2024.2", "MKL-DNN v3.12.0", "CPU capability usage: AVX2")
"""What `torch.__config__.show()` says of those builds and the pins."""


def processor_entry(name: str) -> str:
    """What Linux says of the processor under a name, such as `flags`; empty if nothing, and on other systems."""
    lines = CPUINFO.read_text("utf-8").splitlines() if CPUINFO.is_file() else []
    entries = (line.partition(":") for line in lines)
    return next((value.strip() for entry, _, value in entries if entry.strip() == name), "")


def missing_instructions() -> list[str]:
    """The instructions that the pins need and this processor lacks."""
    return [name for name in NEEDED if name not in processor_entry("flags").split()]


def is_native() -> bool:
    """Whether this process computes in native arithmetic: `restart_native` started it."""
    return os.environ.get(NATIVE) == str(os.getpid())


def pin() -> None:
    """Pin the libraries, none of which may be loaded yet, unless this process is to compute natively."""
    if is_native():
        # OpenMP threads that spin for long while they wait starve a second training on the same cores, which then takes
        # five times as long; threads that hardly spin make one that is alone slower by half.
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        return
    os.environ.pop(REFUSED, None)
    os.environ |= THREADS
    if platform.machine() == "x86_64" and not missing_instructions():
        os.environ |= INSTRUCTIONS


def restart_native() -> None:
    """Restart this process with the same command in native arithmetic, without the pins."""
    if is_native():
        return
    unpinned = {name: value for name, value in os.environ.items() if name not in THREADS | INSTRUCTIONS}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606  the very command that is running
        sys.executable, [sys.executable, *sys.orig_argv[1:]], unpinned | {NATIVE: str(os.getpid())}
    )


def unpromised() -> list[str]:
    """Reasons why this machine may not compute the committed bytes, one line each; empty if there are none."""
    import importlib.metadata  # takes 0.05 s

    found = []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        found.append(f"this is {platform.system()} on {platform.machine()}, not Linux on x86-64")
    elif missing := missing_instructions():
        found.append(f"this processor has no {' and no '.join(name.upper() for name in missing)}")
    if platform.libc_ver()[0] != "glibc" and sys.platform == "linux":
        found.append("the C library is not glibc")
    if "hwcaps" in os.environ.get("GLIBC_TUNABLES", ""):
        found.append("GLIBC_TUNABLES chooses other mathematical functions in glibc")
    if (torch := importlib.metadata.version("torch").partition("+")[0]) != TORCH:
        found.append(f"torch is {torch}, and the committed results were made with {TORCH}")
    return found
