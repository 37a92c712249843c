"""The training device, and what it can do: deterministic computation, memory, bfloat16."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from goldilocks.core import arithmetic
from goldilocks.core.cli import UserError
from goldilocks.model5.products import multiply

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
MADV_HUGEPAGE = 14  # of Linux's mman.h
HEAP = 2**28  # bytes
MAPS = Path("/proc/self/maps")
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def device(wanted: str, local_rank: int = 0) -> torch.device:
    """The device that `train.device` names: `auto` is a GPU if there is one.

    Raises:
        UserError: if a GPU is asked for and torch sees none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            "params.yaml: train.device = cuda: torch sees no GPU here; install a CUDA build of torch and check "
            "nvidia-smi, or set cpu"
        )
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"params.yaml: train.processes: process {local_rank} has no GPU, there are {torch.cuda.device_count()}; "
            "start one process for each"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def flush_denormals() -> None:
    """Flush denormal numbers (below 1.2e-38) to 0, in this thread and in all that start later; so call it first.

    As training goes on, gradients become that small, and processors compute with denormals slowly: a step at the
    articles' size took 1.6 times as long.
    """
    torch.set_flush_denormal(True)


def prepare(threads: int) -> None:
    """Let torch compute deterministically, with this many threads."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # `use_deterministic_algorithms` loads torch's compiler, for 2 s
    # Nothing here reads memory before writing it; filling it with NaN first would cost a tenth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    keep_memory()


def check_build() -> None:
    """Warn if torch's build or pins differ from those that the committed results were made with."""
    if arithmetic.is_native():
        return
    shown = torch.__config__.show()
    if missing := [part for part in arithmetic.TORCH_PARTS if part not in shown]:
        print(
            f"note: this build of torch is not the one that the committed results were made with (it lacks: "
            f"{', '.join(missing)}), so this training may have other bytes",
            file=sys.stderr,
        )


def keep_memory() -> None:
    """Let glibc's allocator keep freed memory, since the next step needs as much; do nothing on other systems.

    By default each large tensor is mapped from the system and given back, and at the articles' size a quarter of a
    step goes into mapping the same pages again. The first part of the heap gets huge pages, which make a small model's
    step a twentieth faster.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.free(libc.malloc(HEAP))  # so that the heap has this size
    heap = next((line.split()[0] for line in MAPS.read_text().splitlines() if line.endswith("[heap]")), "0-0")
    start, end = (int(address, 16) for address in heap.split("-"))
    libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_HUGEPAGE)


def has_bf16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor of these capabilities has instructions for bfloat16 products."""
    return any(capabilities.get(name) for name in BF16_INSTRUCTIONS)


def check_precision(precision: str, where: torch.device) -> None:
    """Refuse bfloat16 where it is only emulated, and say so where it is slower than float32.

    Raises:
        UserError: if the processor has no instructions for it.
    """
    if precision != "bf16" or where.type != "cpu":
        return
    if not has_bf16(torch.cpu.get_capabilities()):
        raise UserError(
            "params.yaml: train.precision = bf16: this processor has no bfloat16 instructions, so it would be tens of "
            "times slower than fp32; set fp32, or bf16_anyway to do it all the same"
        )
    rates = {kind: product_rate(kind, 1024) for kind in (torch.float32, torch.bfloat16)}
    if rates[torch.bfloat16] < rates[torch.float32]:
        print(
            f"note: this processor multiplies bf16 matrices at {rates[torch.bfloat16]:.0f} GFLOP/s and fp32 ones at "
            f"{rates[torch.float32]:.0f}: train.precision=fp32 would be faster",
            file=sys.stderr,
        )


def product_rate(kind: torch.dtype, size: int, repeats: int = 5) -> float:
    """Median rate of square matrix products in GFLOP/s."""
    a, b = torch.ones(size, size, dtype=kind), torch.ones(size, size, dtype=kind)
    out = torch.empty(size, size, dtype=kind)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        multiply(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / sorted(seconds[1:])[repeats // 2] / 1e9


def capability(where: torch.device) -> dict[str, Any]:
    """The instructions or the GPU that the last digits of a result may depend on."""
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        return {"gpu": properties.name, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    found = torch.cpu.get_capabilities()
    return {name: found[name] for name in sorted(found) if isinstance(found[name], bool)} | {
        "vectors": torch.backends.cpu.get_cpu_capability()
    }
