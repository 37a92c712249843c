"""Which of the articles' claims reproduce? A verdict on each of S1-S15 and W1-W9.

Each claim is declared once, below: the sentence, where it stands, the statistic, the criterion fixed beforehand, and
a function from the other stages' metrics to a finding. A verdict is `reproduced` if the whole interval meets the
criterion, else `not reproduced`; what the run did not measure is `not measured here`, with the reason and, where
there is one, a reference figure marked as such.

Reads:  reports/metrics/{sweep,softmax,layernorm,dynamics}.json
Writes: data/claims.json (everything), reports/metrics/claims.json (what diffs well)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import Field

from stages.common import cli, files, params
from stages.evidence.judges import (
    NOT_MEASURED,
    NOT_REPRODUCED,
    REPRODUCED,
    Finding,
    Margins,
    Metrics,
    about,
    not_measured,
)
from stages.evidence.single import initial, of_gpt2, root_d, s1, s3, s5, s6, s7, s9, w1, w5, w6, w7, w8, w9

OUTPUT = files.DATA / "claims.json"
SCALING, WEIGHTS = "numerical scaling", "weight initialisation"


class Settings(params.Section):
    about: float = Field(gt=0, lt=1)
    """"About x": the interval lies within this relative margin of x."""

    overlap: float = Field(gt=0, lt=1)
    """"Almost perfectly": relative distance from the theory, at every dimension."""

    few: float = Field(gt=0, lt=1)
    """"A few entries": at most this share of them holds half of the probability."""


class Run(params.Section):
    """This stage sees nothing of `run:`."""


class Claim(NamedTuple):
    """A sentence of the articles and how it is judged; the criterion may name settings in braces."""

    id: str
    sentence: str
    source: str
    statistic: str
    criterion: str
    judge: Callable[[Metrics, Margins], Finding]


ABOUT = "interval within ±{about:.0%} of the target"
ABLATION = "needs training with and without LayerNorm side by side"
CLAIMS = (
    Claim(
        "S1",
        "σ(Q) ≈ 1 and σ(K) ≈ 1",
        f"{SCALING} 4.1",
        "σ over every Q of experiments 1 and 2",
        f"{ABOUT}, for Q and K",
        s1,
    ),
    Claim(
        "S2",
        "σ(QKᵀ) ≈ √50 ≈ 7",
        f"{SCALING} 3.1, 4.1",
        "mean σ(QKᵀ) over draws",
        ABOUT,
        about("sweep.monte_carlo.sigma_QKt", root_d),
    ),
    Claim(
        "S3",
        "Var(QKᵀ) ≈ d: σ and √n overlap almost perfectly for n = 2…100",
        f"{SCALING} 2.1, 3.2",
        "largest |mean σ/√n - 1| over n, and the farthest end of their intervals",
        "at most {overlap:.0%}, and the log-log slope within that margin of 1/2",
        s3,
    ),
    Claim(
        "S4",
        "dividing by √d brings σ to ≈ 1",
        f"{SCALING} 2.3",
        "mean σ(QKᵀ/√d) over draws",
        ABOUT,
        about("sweep.monte_carlo.sigma_QKt_scaled", lambda _: 1.0),
    ),
    Claim(
        "S5",
        "unscaled: a few entries take large probability, most are ≈ 0",
        f"{SCALING} 4.2",
        "share of a row's entries that hold half of its probability",
        "interval at most {few:.0%}, and more than half of the probabilities under 1e-6",
        s5,
    ),
    Claim(
        "S6",
        "scaled: spread more evenly, many entries can be chosen",
        f"{SCALING} 4.2",
        "effective share of a row's entries, exp(H)/n",
        "interval above 1/2 and above the unscaled one",
        s6,
    ),
    Claim(
        "S7",
        "large logits saturate softmax: gradients close to 0",
        f"{SCALING} 2.2",
        "‖softmax Jacobian‖, unscaled over scaled",
        "interval below 1/2",
        s7,
    ),
    Claim(
        "S8",
        "a Goldilocks zone of logits, kept by scaling and normalisation",
        f"{SCALING} 5.1",
        "gradient and discrimination over a range of logit scales",
        "both survive at 1/√d and nowhere else",
        not_measured("needs a map over logit scales, not only the two that experiment 3 compares"),
    ),
    Claim(
        "S9",
        "scaling acts like sampling temperature T = √d",
        f"{SCALING} 5.3",
        "χ²/df of sampled frequencies against softmax(z/√d)",
        "where 99.9 % of true draws lie, p^(1/T) renormalised equal to 1e-9, and T = 1 refuted",
        s9,
    ),
    Claim(
        "S10",
        "GPT-2's γ lie mostly in 0.2-0.4",
        f"{SCALING} 4.3",
        "share of γ in the range",
        "above 1/2",
        of_gpt2(
            "gamma.share_in_range", "0.763", {"gpt2-medium": 0.247768, "gpt2-large": 0.0489191, "gpt2-xl": 0.0160374}
        ),
    ),
    Claim(
        "S11",
        "GPT-2's β concentrate around 0",
        f"{SCALING} 4.3",
        "share of |β| below layernorm.beta_near_zero",
        "above 1/2",
        of_gpt2("beta.share_near_zero", "90 % of GPT-2 small's β lie in -0.036…0.049"),
    ),
    Claim(
        "S12",
        "LayerNorm mostly shrinks activations (γ < 1)",
        f"{SCALING} 4.3",
        "share of γ below 1",
        "above 1/2",
        of_gpt2("gamma.share_below_1", "median γ of GPT-2 small 0.301"),
    ),
    Claim(
        "S13",
        "LayerNorm stabilises gradients",
        f"{SCALING} 5.2",
        "spread of gradient norms over steps",
        "smaller with LayerNorm",
        not_measured(ABLATION),
    ),
    Claim(
        "S14",
        "LayerNorm reduces the drift of activations through the layers",
        f"{SCALING} 5.2",
        "size of activations by block",
        "grows less with LayerNorm",
        not_measured(ABLATION),
    ),
    Claim(
        "S15",
        "LayerNorm balances the layers against each other",
        f"{SCALING} 5.2",
        "gradient norm by block",
        "more even with LayerNorm",
        not_measured(ABLATION),
    ),
    Claim("W1", "bias vectors are 0 after initialisation", f"{WEIGHTS} 4.1", "largest |bias|", "exactly 0", w1),
    Claim("W2", "Linear weights have std ≈ 0.02", f"{WEIGHTS} 4.1", "pooled std", ABOUT, initial("W2")),
    Claim(
        "W3",
        "position embeddings have Xavier's std √(2/(T+D))",
        f"{WEIGHTS} 4.1",
        "pooled std",
        ABOUT,
        initial("W3"),
    ),
    Claim(
        "W4",
        "token embeddings have std ≈ 0.02 because of weight tying",
        f"{WEIGHTS} 3.3, 4.1",
        "pooled std",
        ABOUT,
        initial("W4"),
    ),
    Claim(
        "W5",
        "QKV weights start narrow around 0 and widen",
        f"{WEIGHTS} 4.2",
        "relative growth of σ, mean over blocks",
        "interval over seeds above 0",
        w5,
    ),
    Claim(
        "W6",
        "their tails grow longer",
        f"{WEIGHTS} 4.2",
        "change of excess kurtosis of Q, K and V, mean over blocks",
        "interval over seeds above 0, and that of the tail mass too",
        w6,
    ),
    Claim(
        "W7",
        "early layers widen faster, later ones slower",
        f"{WEIGHTS} 4.3",
        "rank correlation of growth with depth",
        "interval over seeds below 0",
        w7,
    ),
    Claim(
        "W8",
        "the layer next to the embedding grows most",
        f"{WEIGHTS} 4.3",
        "growth of block 0 minus the largest of the others",
        "interval over seeds above 0",
        w8,
    ),
    Claim(
        "W9",
        "the narrow start keeps softmax out of saturation early in training",
        f"{WEIGHTS} 5.3",
        "lowest attention entropy of a block early in training, as a share of its maximum",
        "interval over seeds above 1/2 (that softmax is unsaturated; not that another start would saturate it)",
        w9,
    ),
)


def ledger(metrics: Metrics, settings: Settings) -> list[dict[str, Any]]:
    """Every claim with its finding, in the order of the articles."""
    entries = []
    for claim in CLAIMS:
        declared = {name: value for name, value in claim._asdict().items() if name != "judge"}
        declared["criterion"] = claim.criterion.format(**settings.model_dump())
        entries.append(declared | claim.judge(metrics, settings)._asdict())
    return entries


def main() -> None:
    cli.no_arguments(__doc__, "stages.claims")
    settings, _ = params.load("claims", Settings, Run)
    metrics = {name: files.read_metrics(name) for name in ("sweep", "softmax", "layernorm", "dynamics")}
    entries = ledger(metrics, settings)
    files.write_json(OUTPUT, files.rounded(entries))
    verdicts = [entry["verdict"] for entry in entries]
    counts = {name: verdicts.count(name) for name in (REPRODUCED, NOT_REPRODUCED, NOT_MEASURED)}
    findings = {
        entry["id"]: {key: entry[key] for key in ("verdict", "value", "low", "high") if entry[key] is not None}
        for entry in entries
    }
    files.write_metrics("claims", {"count": {k.replace(" ", "_"): v for k, v in counts.items()}} | findings)


if __name__ == "__main__":
    cli.run(main)
