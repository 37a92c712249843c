"""Each parameter and each seed matters: changed, it shows in results; and what must not matter does not show."""

from __future__ import annotations

import json

import perturbations
import pytest
from closure import ROOT
from test_pipeline import edit

from goldilocks.core import params
from tools.configure import leaves

SMALL = [
    "run.seeds=[0,1]", "run.arithmetic=portable", "train.threads=1", "train.device=cpu", "train.precision=fp32",
    "train.compile=false", "train.processes=1", "train.accumulate=1",
    "layernorm.gamma_to=1.0",  # of γ near 1 some lie in the range
]  # fmt: skip


def test_every_parameter_is_tried_or_has_a_reason_why_not():
    known = dict(leaves(params.read(ROOT / "params.yaml")))
    listed = [*perturbations.INFLUENTIAL, *perturbations.NEUTRAL, *perturbations.UNTRIED]
    assert sorted(listed) == sorted(known), "params.yaml and tests/perturbations.py"
    assert all(len(reason) > 10 for reason in perturbations.UNTRIED.values())


def tried(project, *stages):
    """How many changes were tried on stages of a copy, all if none is named, and what they showed to be wrong."""
    project.configure(*SMALL, preset="smoke")
    known = dict(leaves(params.read(project.folder / "params.yaml")))
    changes = perturbations.INFLUENTIAL | perturbations.NEUTRAL
    assert [key for key, value in changes.items() if known[key] == value] == [], "these are no changes"
    project.check("python", "-m", "tools.run", *(stages or ["--ablations"]))
    printed = project.check("python", "tests/sensitivity.py", *stages, PYTHONPATH=str(project.folder))
    found = json.loads(printed.strip().splitlines()[-1])
    return found["tried"], found["problems"]


@pytest.mark.slow
def test_each_parameter_and_each_seed_shows_in_results(project):
    count, problems = tried(project)
    assert problems == []
    assert count >= len(perturbations.INFLUENTIAL) + len(perturbations.NEUTRAL)


MUTANTS = [  # (where, what stands there, what instead, what is said)
    ("stages/softmax.py", "settings.samples", "1000",
     "softmax: softmax.samples = 1100 instead of 1000: no result differs; the stage ignores it"),
    ("goldilocks/model5/training_run.py", '"initialisation", seed)', '"initialisation", 0)',
     "train@1: made the same initialisation.parquet as train@0; it ignores its seed or condition"),
    ("stages/inputs.py", "settings.vocabulary)", "settings.vocabulary - settings.retries)",
     "inputs: inputs.retries = 1 instead of 5: results differ, and must not"),
]  # fmt: skip


@pytest.mark.slow
def test_mutants_are_caught(project):
    for path, old, new, _ in MUTANTS:
        edit(project, path, old, new)
    _, problems = tried(project, "inputs", "softmax", "train")
    assert [told for *_, told in MUTANTS if told not in problems] == []
