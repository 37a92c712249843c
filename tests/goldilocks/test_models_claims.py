"""The articles' claims of Q, K and V, judged on anyone's training."""

import pytest
from test_models_weights import checkpoint, drawn

from goldilocks.claims import verdicts
from goldilocks.models import claims
from goldilocks.models.weights import weights


def grown(tmp_path, factors, name="run"):
    """A training of two checkpoints, after which block i is `factors[i]` times as wide."""
    folders = []
    for step, by in ((100, [1.0] * len(factors)), (500, factors)):
        three = [[matrix * of for matrix in one] for one, of in zip(drawn(len(factors), (64, 64, 64)), by, strict=True)]
        folders.append(checkpoint(tmp_path / name / f"checkpoint-{step}", three))
    return weights(folders)


def test_one_training_lies_on_a_side_and_decides_nothing_several_decide(tmp_path):
    early, late = grown(tmp_path, [4, 3, 2, 1.5]), grown(tmp_path, [1.5, 2, 3, 4], "late")
    for frame, side in ((early, claims.CLAIMED), (late, claims.OTHER)):
        entries = {entry["id"]: entry for entry in claims.judged([frame])}
        assert list(entries) == list(claims.JUDGED)
        assert {entry["verdict"] for entry in entries.values()} == {verdicts.UNDECIDED}
        assert entries["W5"]["value"] == pytest.approx(1.625)
        assert entries["W5"]["side"] == claims.CLAIMED
        assert [entries[name]["side"] for name in ("W7", "W8")] == [side, side]
        assert entries["W7"]["value"] == pytest.approx(-1 if side == claims.CLAIMED else 1)
    several = {entry["id"]: entry for entry in claims.judged([early, early, early.copy()])}
    assert several["W7"]["verdict"] == verdicts.REPRODUCED
    assert several["W5"]["n"] == 3
    mixed = early.assign(spectral_norm=late["spectral_norm"])
    assert {entry["id"]: entry["side"] for entry in claims.judged([mixed])}["W8"] == claims.BETWEEN


def test_without_an_order_of_blocks_or_two_checkpoints_no_claim_is_judged(tmp_path):
    frame = grown(tmp_path, [2, 3])
    assert claims.judged([frame[frame["step"] == 100]]) == []
    assert claims.judged([frame.assign(block=0)]) == []
    verdict = {entry["id"]: entry["verdict"] for entry in claims.judged([frame])}
    assert verdict["W7"] == verdicts.NOT_MEASURED, "two blocks have no trend"
    assert verdict["W8"] == verdicts.UNDECIDED
