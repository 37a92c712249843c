"""Metrics of a run in which every claim reproduces, and what spoils each: for the tests of claims and verdicts."""

import copy

from goldilocks.claims.criteria import MetricTree
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.verdicts import judge_all

MARGINS = {"about": 0.05, "overlap": 0.02, "few": 0.1, "vanished": 0.1, "attends": 0.3, "gain": 0.5}
GRADIENTS = ("gradient", "trace", "jacobian")


def estimate(value, half=0.0, n=5, **more):
    return {"value": value, "low": value - half, "high": value + half, "n": n} | more


# what a run measures in which everything reproduces: path -> value and half-width of its interval, or a plain number
MEASURED = {
    "sweep.one_pair": {"dimension": 50, "sqrt_dimension": 7.07},
    "sweep.all_pairs": {"sigma_Q": (1.0, 0.01), "sigma_K": (1.0, 0.01)},
    "sweep.monte_carlo": {"sigma_QKt": (7.07, 0.02), "sigma_QKt_scaled": (1.0, 0.01), "slope": (0.5, 0.002),
                          "largest_ratio_error": (0.01, 0.002)},
    "sweep.single_draws": {"largest_ratio_error": 0.1},
    "softmax.fresh_draws.unscaled": {"share_of_entries_holding_half": (0.02, 0.01),
                                     "share_of_negligible_probabilities": (0.6, 0.01),
                                     "effective_share_of_entries": (0.05, 0.01)},
    "softmax.fresh_draws.scaled": {"effective_share_of_entries": (0.6, 0.01)},
    "softmax.temperature": {"largest_difference_from_power": 1e-15, "reduced_chi_square": 1.01,
                            "degrees_of_freedom": 2000, "reduced_chi_square_at_temperature_1": 500.0},
    "goldilocks.thresholds": {"least_gradient": 0.5, "least_discrimination": 2.0},
    "goldilocks.independent": {
        "lowest_gradient_by_root_d": (0.9, 0.01), "lowest_discrimination_by_root_d": (4.0, 0.5),
        "largest_discrimination_by_d": (1.1, 0.05),
        **{f"largest_{name}_unscaled": (0.05, 0.01) for name in GRADIENTS},
        **{f"largest_growth_of_{name}_unscaled": (0.9, 0.01) for name in GRADIENTS}},
    "shares": {"gamma_in_range": {"gpt2": 0.76}, "gamma_below_1": {"gpt2": 0.9}, "beta_near_zero": {"gpt2": 0.98}},
    "ablations.without_layernorm": dict.fromkeys(("gradient_jump", "drift", "imbalance", "share_in_zone"), (0.5, 0.1)),
    "ablations.conditions.scaled": {"cost_of_deletion": (0.8, 0.1), "gain_on_unigrams": (1.0, 0.1)},
    "ablations.conditions.no_layernorm": {"cost_of_deletion": (0.8, 0.1), "gain_on_unigrams": (1.0, 0.1)},
    "ablations.control.beyond": {
        "growth_of_std": (0.3, 0.1), "change_of_excess_kurtosis": (0.3, 0.1),
        "rank_correlation_of_growth_with_depth": (-0.5, 0.1),
        "rank_correlation_of_spectral_growth_with_depth": (-0.5, 0.1),
        "lead_of_block_0_in_growth": (0.1, 0.01), "lead_of_block_0_in_spectral_growth": (0.1, 0.01)},
    "dynamics": {
        "cost_of_deleting_attention": (0.8, 0.1), "growth_of_std": (0.4, 0.1), "change_of_excess_kurtosis": (0.4, 0.1),
        "change_of_tail_mass": (0.02, 0.01), "rank_correlation_of_growth_with_depth": (-0.8, 0.1),
        "rank_correlation_of_spectral_growth_with_depth": (-0.8, 0.1), "lead_of_block_0_in_growth": (0.2, 0.1),
        "lead_of_block_0_in_spectral_growth": (0.2, 0.03), "lowest_early_head_entropy": (0.95, 0.01)},
}  # fmt: skip
INITIAL = {"W1": 0.0, "W2": 0.02, "W3": 0.0442, "W4": 0.02, "W4_untied": 0.0217}


def place_of(found, path):
    """The mapping that a metric lies in, made if it is not there, and its key in it."""
    *keys, last = path.split(".")
    for key in keys:
        found = found.setdefault(key, {})
    return found, last


def metrics():
    """Metrics of a run in which everything is measured and reproduces."""
    found = {}
    for path, measured in MEASURED.items():
        place, last = place_of(found, path)
        place[last] = {name: estimate(*of) if isinstance(of, tuple) else of for name, of in measured.items()}
    checks = {name: estimate(value, 1e-5 if value else 0.0, expected=value) for name, value in INITIAL.items()}
    found["dynamics"]["initialisation"] = checks
    return copy.deepcopy(found)


# claim -> where to put what so that it must fail, and so that nothing can be said; all else stays as it is
DRAWN = "softmax.fresh_draws"
TEMPERATURE = "softmax.temperature"
INDEPENDENT = "goldilocks.independent"
WITHOUT = "ablations.without_layernorm"
BEYOND = "ablations.control.beyond"
SPOILT = {
    "S1": [("sweep.all_pairs.sigma_Q", 1.08, 0.02, 1.04, 0.02), ("sweep.all_pairs.sigma_K", 0.9, 0.01, 0.95, 0.01)],
    "S2": [("sweep.monte_carlo.sigma_QKt", 8.0, 0.1, 7.07, 0.5)],
    "S3": [("sweep.monte_carlo.largest_ratio_error", 0.03, 0.006, 0.015, 0.006),
           ("sweep.monte_carlo.slope", 0.6, 0.05, 0.5, 0.02)],
    "S4": [("sweep.monte_carlo.sigma_QKt_scaled", 7.07, 0.01, 1.0, 0.06)],
    "S5": [(f"{DRAWN}.unscaled.share_of_entries_holding_half", 0.2, 0.05, 0.1, 0.05),
           (f"{DRAWN}.unscaled.share_of_negligible_probabilities", 0.4, 0.01, 0.5, 0.01)],
    "S6": [(f"{DRAWN}.scaled.effective_share_of_entries", 0.4, 0.01, 0.5, 0.01),
           (f"{DRAWN}.unscaled.effective_share_of_entries", 0.55, 0.01, 0.5, 0.01)],
    "S7": [*((f"{INDEPENDENT}.largest_{name}_unscaled", 0.2, 0.05, 0.1, 0.01) for name in GRADIENTS),
           *((f"{INDEPENDENT}.largest_growth_of_{name}_unscaled", 1.1, 0.05, 1.0, 0.05) for name in GRADIENTS)],
    "S8": [(f"{INDEPENDENT}.lowest_gradient_by_root_d", 0.4, 0.05, 0.5, 0.05),
           (f"{INDEPENDENT}.lowest_discrimination_by_root_d", 1.5, 0.1, 2.1, 0.5),
           (f"{INDEPENDENT}.largest_discrimination_by_d", 3.0, 0.1, 2.0, 0.1),
           (f"{WITHOUT}.share_in_zone", -0.3, 0.1, 0.05, 0.1)],
    "S9": [(f"{TEMPERATURE}.reduced_chi_square", 1.2, 0.0, None, None),
           (f"{TEMPERATURE}.reduced_chi_square", 0.8, 0.0, None, None),
           (f"{TEMPERATURE}.largest_difference_from_power", 1e-8, 0.0, None, None)],
    "S10": [("shares.gamma_in_range.gpt2", 0.248, 0.0, None, None)],
    "S11": [("shares.beta_near_zero.gpt2", 0.3, 0.0, None, None)],
    "S12": [("shares.gamma_below_1.gpt2", 0.3, 0.0, None, None)],
    "S13": [(f"{WITHOUT}.gradient_jump", -0.3, 0.1, 0.05, 0.1)],
    "S14": [(f"{WITHOUT}.drift", -0.3, 0.1, -0.05, 0.1)],
    "S15": [(f"{WITHOUT}.imbalance", -0.3, 0.3, 0.05, 0.1)],
    "W1": [("dynamics.initialisation.W1", 1e-9, 0.0, None, None)],
    "W2": [("dynamics.initialisation.W2", 0.022, 1e-5, 0.021, 1e-5)],
    "W3": [("dynamics.initialisation.W3", 0.02, 1e-5, 0.0464, 1e-3)],
    "W4": [("dynamics.initialisation.W4", 0.00626, 1e-5, 0.02, 2e-3),
           ("dynamics.initialisation.W4_untied", 0.02, 1e-5, 0.0217, 2e-3)],
    "W5": [("dynamics.growth_of_std", -0.2, 0.1, 0.4, 0.5), (f"{BEYOND}.growth_of_std", -0.2, 0.1, 0.1, 0.2)],
    "W6": [("dynamics.change_of_excess_kurtosis", -0.2, 0.1, 0.1, 0.2),
           ("dynamics.change_of_tail_mass", -0.1, 0.03, 0.02, 0.03),
           (f"{BEYOND}.change_of_excess_kurtosis", -0.2, 0.1, 0.1, 0.2)],
    "W7": [(f"{where}.rank_correlation_of_{kind}_with_depth", 0.5, 0.2, -0.3, 0.4)
           for where in ("dynamics", BEYOND) for kind in ("growth", "spectral_growth")],
    "W8": [(f"{where}.lead_of_block_0_in_{kind}", -0.2, 0.1, 0.2, 0.3)
           for where in ("dynamics", BEYOND) for kind in ("growth", "spectral_growth")],
    "W9": [("dynamics.lowest_early_head_entropy", 0.3, 0.1, 0.52, 0.05)],
}  # fmt: skip


def put(found, path, value, half=0.0):
    place, last = place_of(found, path)
    place[last] = place[last] | estimate(value, half) if isinstance(place[last], dict) else value


def verdicts(found):
    return {entry["id"]: entry["verdict"] for entry in judge_all(CLAIMS, MetricTree(found, MARGINS))}


def entry_of(name, found):
    return next(entry for entry in judge_all(CLAIMS, MetricTree(found, MARGINS)) if entry["id"] == name)
