"""The benchmarks measure what they say, and refuse what makes no sense."""

import re

import pytest
import torch
from closure import ROOT
from conftest import Project

from goldilocks.core.cli import UserError
from tools.bench import __main__ as bench
from tools.bench import training

TINY = training.Size(2, 32, 4, 16, 4, 300, steps=2, warm_up=1)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("make", [training.ours, training.transformers])
def test_every_variant_learns(make):
    torch.manual_seed(0)
    try:
        step = make(TINY, "fp32", torch.get_num_threads())
        batch = torch.randint(0, TINY.vocabulary, (TINY.batch_size, TINY.context_length + 1))
        losses = [step(batch) for _ in range(30)]
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(False)
    assert losses[-1] < losses[0] - 0.05


def test_a_process_that_fails_is_told(capfd):
    with pytest.raises(UserError, match="ours-fp32 at huge size failed: the lines above say why"):
        bench.measure("ours-fp32", "huge", 1)
    assert "KeyError: 'huge'" in capfd.readouterr().err


@pytest.mark.slow
def test_the_table_has_every_row():
    printed = Project(ROOT).check("python", "-m", "tools.bench", "--size", "small", "--steps", "5")
    for name in ("ours-portable", "ours-fp32", "transformers-fp32"):
        assert re.search(
            rf"^{name} +\S+ s \(\S+\) +0\.\d\d GB  [\d,]+ tokens/s, \d+% of \d+ GFLOP/s$", printed, re.M
        ), printed
