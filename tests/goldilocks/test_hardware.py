"""What the machine can do, and what is refused where it can't."""

import platform
import sys

import pytest
import torch
from conftest import fork

from goldilocks.core.cli import UserError
from goldilocks.model5 import hardware

CPU = torch.device("cpu")


def test_bf16_is_refused_without_instructions_for_it_unless_forced_and_told_where_it_is_slower(monkeypatch, capsys):
    found = {"avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    with pytest.raises(UserError, match=r"train\.precision = bf16: this processor has no bfloat16 .*bf16_anyway"):
        hardware.check_precision("bf16", CPU)
    hardware.check_precision("bf16_anyway", CPU)
    hardware.check_precision("fp32", CPU)
    hardware.check_precision("bf16", torch.device("cuda"))
    found["avx512_bf16"] = True
    for rate, told in ((100.0, True), (900.0, False)):
        rates = {torch.float32: 300.0, torch.bfloat16: rate}
        monkeypatch.setattr(hardware, "product_rate", lambda kind, _, rates=rates: rates[kind])
        hardware.check_precision("bf16", CPU)
        assert ("train.precision=fp32 would be faster" in capsys.readouterr().err) == told


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.device("cpu") == hardware.device("auto") == CPU
    with pytest.raises(UserError, match=r"train\.device = cuda: torch sees no GPU here"):
        hardware.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="process 2 has no GPU, there are 2"):
        hardware.device("cuda", 2)


def test_check_refuses_a_gpu_that_is_not_there(bare, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (bare.folder / "requirements.lock").touch()
    bare.configure("train.device=cuda", "run.arithmetic=native")
    done = bare.here("check")
    assert done.returncode == 2
    assert "error: params.yaml: train.device = cuda: torch sees no GPU here" in done.stderr


PREPARED = """import resource, sys, torch
from goldilocks.model5 import hardware, initialisation, training
from goldilocks.model5.model import Model5, Shape
hardware.flush_denormals()
hardware.prepare(2)
tiny = torch.full((2**22,), 1e-30) * 1e-9
print(int(tiny.count_nonzero()))
for _ in range(10): torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
heap = open("/proc/self/smaps").read().partition("[heap]")[2] if sys.platform == "linux" else ""
print(" hg" in heap.partition("VmFlags:")[2].partition("\\n")[0])
model = Model5(Shape(16, 4, 8, 2, 1))
initialisation.initialise(model, 0.02, 0)
trainer = training.Trainer(training.Objective(model), 1e-3, 0.0)
trainer.gradient(torch.zeros(2, 5, dtype=torch.int64))
trainer.optimizer.step()
print("torch._dynamo" in sys.modules)"""


def test_denormal_numbers_are_zero_large_memory_stays_on_huge_pages_and_a_step_loads_no_compiler(tmp_path):
    said = tmp_path / "said"
    fork(exec, f"import sys; sys.stdout = open({str(said)!r}, 'w', buffering=1)\n{PREPARED}", {}).join()
    denormal, pages, huge, compiler = said.read_text().split()
    assert (denormal, compiler) == ("0", "False")
    if platform.libc_ver()[0] == "glibc":
        assert int(pages) < 1000, "64 MB are 16,384, each time"
        assert huge == "True" or sys.platform != "linux"
