"""The benchmarks measure what they say, and refuse what makes no sense."""

import re

import pytest
import torch
from closure import ROOT
from conftest import Project

from goldilocks.core.cli import UserError
from tools.bench import costs, training

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


def test_a_process_that_fails_is_told():
    with pytest.raises(UserError, match=r"(?s)-m tools.bench.training ours-fp32 huge 1 1: .*KeyError: 'huge'"):
        costs.cost("-m", "tools.bench.training", "ours-fp32", "huge", "1", "1")


@pytest.mark.slow
def test_the_table_has_every_row():
    printed = Project(ROOT).check("python", "-m", "tools.bench", "--size", "small", "--steps", "5", "--repeats", "1")
    for name in ("ours-portable", "ours-fp32", "transformers-fp32"):
        assert re.search(rf"^{name} +\S+ s \(\S+\) +\S+ GB  [\d,]+ tokens/s, \d+% of \d+ GFLOP/s$", printed, re.M)
    assert re.search(r"^local file of 0\.50 GB, statistics .* 0\.[01]\d GB$", printed, re.M), "memory of its own"
    assert "\ntransformers: from_pretrained " in printed
