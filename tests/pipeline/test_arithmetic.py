"""Every process of the project computes with the pinned libraries, whatever the user's environment says."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata

import ask
import pytest
import torch
from closure import ROOT
from conftest import environment

from goldilocks.core import arithmetic

ASK = str(ROOT / "tests" / "ask.py")
USERS = {
    "OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "5", "GOTO_NUM_THREADS": "2",
    "OPENBLAS_DEFAULT_NUM_THREADS": "2", "MKL_DOMAIN_NUM_THREADS": "MKL_DOMAIN_ALL=4", "MKL_DYNAMIC": "FALSE",
    "OPENBLAS_CORETYPE": "Prescott", "NPY_ENABLE_CPU_FEATURES": "X86_V3", "NPY_DISABLE_CPU_FEATURES": "X86_V3",
    "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41", "CUDA_VISIBLE_DEVICES": "0",
}  # fmt: skip
"""What a shell or a cluster may have set: each changes what a library computes with, where it is not overruled."""


def asked(*command, **extra):
    """The answers of each process of a command that runs tests/ask.py."""
    env = environment() | USERS | extra
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "NumPy" not in done.stderr, "it warns of features that it does not know"
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"numpy"')]
    assert found
    if any("torch" in told for told in found):
        assert set(re.findall(r"CNR:(\S+).* NThr:(\d+)", done.stdout)) == {("COMPATIBLE", "1")}
        assert set(re.findall(r"cpu,(?:runtime:OpenMP,nthr|isa):(.+)", done.stdout)) == {"1", "Intel AVX2"}
    return found


def assert_pinned(told):
    assert told["numpy"] == ["X86_V3"], "AVX2 and FMA"
    assert told["functions"] == ["X86_V3", "baseline(X86_V2)"]
    pools = told["pools"]
    assert {pool["num_threads"] for pool in pools} == {1}
    assert [pool["architecture"] for pool in pools if pool["internal_api"] == "openblas"] == ["Haswell", "Haswell"]
    assert told.get("torch") in (None, ["AVX2", 1])


TRAINING = ("stages.train", "--help")
STARTED = [
    (TRAINING, {"ASK_TORCH": "1"}),
    (("tools.verify", "--help"), {}),
    pytest.param(("tools.bench.training", "ours-portable", "small", "1"), {}, marks=pytest.mark.slow),
    pytest.param(("pytest", "--collect-only", "tests/goldilocks/test_products.py"), {}, marks=pytest.mark.slow),
]
"""Modules that `python -m` starts: every one imports `stages` or `tools` first, and each of these pins."""


@pytest.mark.parametrize(("command", "extra"), STARTED)
def test_every_entry_point_is_pinned(command, extra):
    [told] = asked(ASK, *command, **extra)
    assert ("torch" in told) >= (command[0] != "tools.verify")
    assert_pinned(told)


@pytest.mark.slow
def test_torchruns_workers_are_pinned():
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    # what starts them is torch's, and refuses both of NumPy's variables
    found = asked(*launcher, ASK, *TRAINING, ASK_TORCH="1", NPY_ENABLE_CPU_FEATURES="")
    assert len(found) == 2
    for told in found:
        assert_pinned(told)


def test_so_are_these():
    assert_pinned(ask.answers())
    assert arithmetic.unpromised() == []
    assert all(part in torch.__config__.show() for part in arithmetic.TORCH_PARTS), "what the results were made with"


TORCH = arithmetic.TORCH
CPUINFO = "processor\t: 0\nmodel name\t: Some\nflags\t\t: fpu sse2 {} avx\nprocessor\t: 1\nflags\t\t: other\n"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Changes what `arithmetic` sees of the machine, one thing at a time from one where all is promised."""
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(arithmetic, "CPUINFO", cpuinfo)

    def change(flags="avx2 fma", kind="x86_64", system="linux", libc="glibc", tunables="", torch=f"{TORCH}+cpu"):
        cpuinfo.write_text(CPUINFO.format(flags))
        monkeypatch.setattr(platform, "machine", lambda: kind)
        monkeypatch.setattr(platform, "system", lambda: system.capitalize())
        monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr(metadata, "version", lambda package: {"torch": torch}[package])
        monkeypatch.setenv("GLIBC_TUNABLES", tunables)

    change()
    return change


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"flags": "fma"}, "this processor has no AVX2"),
        ({"flags": ""}, "this processor has no AVX2 and no FMA"),
        ({"kind": "aarch64"}, "this is Linux on aarch64, not Linux on x86-64"),
        ({"system": "darwin"}, "this is Darwin on x86_64, not Linux on x86-64"),
        ({"libc": ""}, "the C library is not glibc"),
        ({"tunables": "glibc.cpu.hwcaps=-AVX2"}, "GLIBC_TUNABLES chooses other mathematical functions in glibc"),
        ({"torch": "2.14.0+cu130"}, f"torch is 2.14.0, and the committed results were made with {TORCH}"),
    ],
)  # fmt: skip
def test_what_is_not_promised_is_said_in_one_line(machine, changed, reason):
    assert arithmetic.unpromised() == []
    machine(tunables="glibc.malloc.check=1", torch=TORCH)  # the build with CUDA has no suffix
    assert arithmetic.unpromised() == []
    machine(**changed)
    assert arithmetic.unpromised() == [reason]


@pytest.mark.parametrize("changed", [{"flags": "avx2"}, {"kind": "aarch64"}])
def test_no_instruction_is_asked_for_that_the_processor_lacks(machine, monkeypatch, changed):
    for name in arithmetic.INSTRUCTIONS:
        monkeypatch.delenv(name, raising=False)
    for name in arithmetic.THREADS:
        monkeypatch.setenv(name, "7")
    machine(**changed)
    arithmetic.pin()
    assert not arithmetic.INSTRUCTIONS.keys() & os.environ.keys()
    assert arithmetic.THREADS.items() <= os.environ.items()


NATIVE = """
import json, os, subprocess, sys
from goldilocks.core import arithmetic
arithmetic.restart_native()
arithmetic.restart_native()
child = "from goldilocks.core import arithmetic; print(arithmetic.is_native())"
said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
print(json.dumps([arithmetic.is_native(), sorted(arithmetic.INSTRUCTIONS.keys() & os.environ.keys()), said]))
"""


def test_native_arithmetic_takes_the_pins_back():
    """In the process started anew, and not in those that it starts."""
    done = subprocess.run([sys.executable, "-c", NATIVE], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert json.loads(done.stdout or "null") == [True, [], "False"], done.stderr
