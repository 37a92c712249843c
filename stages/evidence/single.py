"""Judges of single claims, named after them: what each looks at is declared in `stages/claims.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stages.common.statistics import reduced_chi_square_range
from stages.evidence.judges import (
    NOT_MEASURED,
    NOT_REPRODUCED,
    REPRODUCED,
    Finding,
    Margins,
    Metrics,
    about,
    at,
    judged,
    over_seeds,
    point,
    told,
    within,
)

GPT2 = "gpt2"


def s1(metrics: Metrics, margins: Margins) -> Finding:
    q, k = metrics["sweep"]["all_pairs"]["sigma_Q"], metrics["sweep"]["all_pairs"]["sigma_K"]
    met = within(q, 1, margins.about) and within(k, 1, margins.about)
    return judged(met, q, f"σ(K) = {k['value']:.4g} [{k['low']:.4g}, {k['high']:.4g}]")


def s3(metrics: Metrics, margins: Margins) -> Finding:
    draws, slope = metrics["sweep"]["monte_carlo"], metrics["sweep"]["monte_carlo"]["slope"]
    worst = draws["largest_ratio_error"]
    met = worst["high"] <= margins.overlap and within(slope, 0.5, margins.overlap)
    single = metrics["sweep"]["single_draws"]["largest_ratio_error"]
    note = f"log-log slope {slope['value']:.5g} [{slope['low']:.5g}, {slope['high']:.5g}]; "
    note += f"one single draw strays by {single:.1%}"
    return judged(met, worst, note)


def s5(metrics: Metrics, margins: Margins) -> Finding:
    drawn = metrics["softmax"]["fresh_draws"]["unscaled"]
    few, zero = drawn["share_of_entries_holding_half"], drawn["share_of_negligible_probabilities"]
    met = few["high"] <= margins.few and zero["low"] > 0.5
    note = f"{zero['value']:.0%} of probabilities are under 1e-6; "
    note += (
        f"over all entries at once the largest is {metrics['softmax']['unscaled']['all']['largest_probability']:.3g}"
    )
    return judged(met, few, note)


def s6(metrics: Metrics, margins: Margins) -> Finding:
    drawn = metrics["softmax"]["fresh_draws"]
    scaled, unscaled = (drawn[name]["effective_share_of_entries"] for name in ("scaled", "unscaled"))
    return judged(scaled["low"] > 0.5 and scaled["low"] > unscaled["high"], scaled, f"unscaled {unscaled['value']:.3g}")


def s7(metrics: Metrics, margins: Margins) -> Finding:
    ratio = metrics["softmax"]["fresh_draws"]["jacobian_norm_ratio"]
    every = [metrics["softmax"][scaling]["all"]["jacobian_norm"] for scaling in ("unscaled", "scaled")]
    note = "an even row has a small Jacobian too, and one in which two entries compete a large one; "
    note += f"over all entries at once the ratio is {every[0] / every[1]:.3g}"
    return judged(ratio["high"] < 0.5, ratio, note)


def s9(metrics: Metrics, margins: Margins) -> Finding:
    if metrics["sweep"]["one_pair"]["dimension"] == 1:
        return Finding(NOT_MEASURED, "at d = 1 the temperature is 1, and nothing is scaled")
    found = metrics["softmax"]["temperature"]
    chi, control = found["reduced_chi_square"], found["reduced_chi_square_at_temperature_1"]
    low, high = reduced_chi_square_range(found["degrees_of_freedom"])
    met = found["largest_difference_from_power"] < 1e-9 and low <= chi <= high < control
    note = f"true draws lie in [{low:.3g}, {high:.3g}] 99.9 % of the time; at T = 1 χ²/df is {control:.3g}; "
    note += f"largest difference from p^(1/T) {found['largest_difference_from_power']:.1e}"
    return Finding(REPRODUCED if met else NOT_REPRODUCED, note, chi)


def of_gpt2(path: str, reference: str, family: Mapping[str, float] | None = None) -> Callable[..., Finding]:
    """A judge of a share among GPT-2's LayerNorm parameters, "mostly" meaning more than half of them.

    The articles speak of GPT-2 small; the note judges every other checkpoint apart.

    Args:
        reference: what is known of GPT-2 small.
        family: the share in its larger siblings, for those that a run did not extract.
    """
    kind, name = path.split(".")

    def judge(metrics: Metrics, margins: Margins) -> Finding:
        found = {model: each[kind][name] for model, each in metrics["layernorm"].items() if name in each.get(kind, {})}
        others = [
            f"{model} {share:.3g} ({'mostly' if share > 0.5 else 'not mostly'})"
            for model, share in sorted(found.items())
            if model != GPT2
        ]
        others += [
            f"{model} {share:.3g} (reference figure)" for model, share in (family or {}).items() if model not in found
        ]
        note = f"apart from it: {', '.join(others)}" if others else ""
        if GPT2 not in found:
            missing = f"no GPT-2 among the inputs; reference figure: {reference}"
            return Finding(NOT_MEASURED, f"{missing}; {note}".rstrip("; "))
        counted = f"all {metrics['layernorm'][GPT2][kind]['n']:,} counted, so no sampling error"
        return judged(found[GPT2] > 0.5, point(found[GPT2]), f"{counted}; {note}".rstrip("; "))

    return judge


def w5(metrics: Metrics, margins: Margins) -> Finding:
    note = told(
        metrics,
        growth_of_spectral_norm="relative growth of the spectral norm",
        change_of_stable_rank="the stable rank changes by",
        final_cosine_to_initial="cosine to the start",
    )
    return over_seeds("dynamics.growth_of_std", lambda e: e["low"] > 0, note)(metrics, margins)


def w6(metrics: Metrics, margins: Margins) -> Finding:
    mass = metrics["dynamics"].get("change_of_tail_mass", point(0.0))
    note = told(
        metrics,
        change_of_tail_mass="tail mass, which widening alone would raise, changes by",
        change_of_quantile_ratio="(q99 - q01)/(q75 - q25), which single outliers do not move, from 3.45 by",
    )
    judge = over_seeds("dynamics.change_of_excess_kurtosis", lambda e: e["low"] > 0 and mass["low"] > 0, note)
    return judge(metrics, margins)


def w7(metrics: Metrics, margins: Margins) -> Finding:
    note = told(metrics, rank_correlation_of_spectral_growth_with_depth="the same of the spectral norm's growth")
    path = "dynamics.rank_correlation_of_growth_with_depth"
    return over_seeds(path, lambda e: e["high"] < 0, note, least=3)(metrics, margins)


def w8(metrics: Metrics, margins: Margins) -> Finding:
    note = told(metrics, lead_of_block_0_in_spectral_growth="the same of the spectral norm's growth")
    return over_seeds("dynamics.lead_of_block_0_in_growth", lambda e: e["low"] > 0, note)(metrics, margins)


def w9(metrics: Metrics, margins: Margins) -> Finding:
    note = told(
        metrics, lowest_early_head_entropy="lowest of a single head", largest_early_logit="largest |logit| of any head"
    )
    note = "; ".join(filter(None, (note, "no wider start beside it")))
    return over_seeds("dynamics.lowest_early_attention_entropy", lambda e: e["low"] > 0.5, note)(metrics, margins)


def w1(metrics: Metrics, margins: Margins) -> Finding:
    estimate = metrics["dynamics"]["initialisation"]["W1"]
    return judged(estimate["value"] == 0, estimate, f"{estimate['n']:,} bias values")


def initial(claim: str) -> Callable[[Metrics, Margins], Finding]:
    return about(f"dynamics.initialisation.{claim}", lambda m: at(m, f"dynamics.initialisation.{claim}.expected"))


def root_d(metrics: Metrics) -> float:
    return float(metrics["sweep"]["one_pair"]["sqrt_dimension"])
