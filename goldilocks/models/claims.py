"""What the articles claim of Q, K and V over a training (W5-W8), judged on anyone's by the same statistics.

Beside the pipeline's own verdicts two things are missing: whether the model has learned to attend, and what the same
training does on shuffled tokens. So this says whether the weights move as the articles say, and not what moves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from goldilocks.claims import growth
from goldilocks.claims.criteria import MetricTree, Outcome
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.verdicts import Claim, judge

JUDGED = ("W5", "W6", "W7", "W8")
OWN = "dynamics."  # metrics of the trainings themselves
CLAIMED, OTHER, BETWEEN = "on the claimed side", "on the other side", "measures differ"
NOT_FINITE = "not finite"


def _of_these(claim: Claim) -> Claim:
    """A claim as far as it can be judged on trainings alone."""
    own = tuple(each for each in claim.requirements if each.path.startswith(OWN))
    absent = "needs three blocks" if claim.id == "W7" else "needs two blocks"
    return claim._replace(requirements=own, gate=(), unit="training", absent=absent)


def _side(claim: Claim, known: MetricTree) -> str:
    """On which side of its criteria a claim's numbers lie, whatever their intervals; empty if there are none."""
    try:
        numbers = [(known.estimate(each.path), each.criterion) for each in claim.requirements]
    except KeyError:
        return ""
    if not all(np.isfinite(found.value) for found, _ in numbers):
        return NOT_FINITE
    points = ((found._replace(low=found.value, high=found.value), criterion) for found, criterion in numbers)
    outcomes = {criterion.outcome(point, known) for point, criterion in points}
    return CLAIMED if outcomes == {Outcome.MET} else OTHER if outcomes == {Outcome.REFUTED} else BETWEEN


def _ends(frame: pd.DataFrame, seed: int) -> pd.DataFrame | None:
    """The first and the last checkpoint as steps 0 and 1, blocks numbered in their order; None without two or an order.

    An encoder and its decoder, or two attentions of a block, have no one order.
    """
    whole = frame[frame["head"] == growth.ALL_HEADS]
    steps, modules = sorted(whole["step"].unique()), whole.drop_duplicates("module").sort_values("block")
    if len(steps) < 2 or modules["block"].duplicated().any():
        return None
    ends = whole[whole["step"].isin([steps[0], steps[-1]])]
    order = {module: i for i, module in enumerate(modules["module"])}
    return ends.assign(seed=seed, step=(ends["step"] == steps[-1]).astype(int), block=ends["module"].map(order))


def judged(trainings: Sequence[pd.DataFrame]) -> list[dict[str, Any]]:
    """The claims W5-W8 with their estimates, verdicts and `side`; empty without two checkpoints, or an order of blocks.

    One training has no interval, so with one all are undecided; its numbers lie on one side of the claim all the same.

    Args:
        trainings: of each a frame that `goldilocks.weights` made. With two or more, intervals are over these.
    """
    ends = [_ends(frame, seed) for seed, frame in enumerate(trainings)]
    if not ends or any(one is None for one in ends):
        return []
    with np.errstate(divide="ignore", invalid="ignore"):  # weights that were all 0
        found = growth.seed_statistics(growth.tidy(pd.concat(ends)), 1)
        metrics = {name: estimate.as_metrics() for name, estimate in growth.estimates(found).items()}
    known = MetricTree({"dynamics": metrics}, {})
    claims = [_of_these(claim) for claim in CLAIMS if claim.id in JUDGED]
    return [judge(claim, known) | {"side": _side(claim, known)} for claim in claims]
