"""What is read of the norms of every known architecture is what transformers' own models do with them."""

import pytest
from norm_survey import ARCHITECTURES, MARKS, PAGE, REASONS, measure

QUICK = ("bart", "qwen3_next")


def documented():
    """The rows of the table in docs/norms.md, by architecture."""
    _, _, rest = PAGE.read_text("utf-8").partition(MARKS[0])
    rows = rest.partition(MARKS[1])[0].strip().splitlines()[2:]
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in ARCHITECTURES]
)
def test_every_norm_is_found_with_its_gamma_and_its_place(model_type):
    row = measure(model_type)
    assert row.norms > 0
    assert bool(row.wrong) == (model_type in REASONS), row.wrong
    assert documented()[model_type] == row.line(model_type), "python tests/norm_survey.py writes it anew"


def test_the_table_has_all_known_architectures():
    assert list(documented()) == ARCHITECTURES
    whole = set(ARCHITECTURES) - set(REASONS)
    assert len(whole) >= 100
