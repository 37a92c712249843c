"""What is read of the norms of every known architecture is what transformers' own models do with them."""

import pytest
from norm_survey import ARCHITECTURES, REASONS, documented, measure

QUICK = ("bart", "qwen3_next")


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in ARCHITECTURES]
)
def test_every_norm_is_found_with_its_gamma_and_its_place(model_type):
    row, wrong = measure(model_type)
    assert " of 0 |" not in row
    assert bool(wrong) == (model_type in REASONS), wrong
    assert documented()[model_type] == row, "python tests/norm_survey.py writes it anew"


def test_the_table_has_all_known_architectures():
    assert list(documented()) == ARCHITECTURES
    whole = set(ARCHITECTURES) - set(REASONS)
    assert len(whole) >= 100
