"""Metrics of a run in which every claim reproduces, and what spoils each: for the tests of claims and verdicts."""

from goldilocks.claims.criteria import MetricTree
from goldilocks.claims.definitions import CLAIMS
from goldilocks.claims.verdicts import judge_all

MARGINS = {"about": 0.05, "overlap": 0.02, "few": 0.1, "vanished": 0.1, "attends": 0.3, "gain": 0.5}
GRADIENTS = ("gradient", "trace", "jacobian")
DRAWN, TEMPERATURE, INDEPENDENT = "softmax.fresh_draws", "softmax.temperature", "goldilocks.independent"
START, WITHOUT, BEYOND = "dynamics.initialisation", "ablations.without_layernorm", "ablations.control.beyond"

# claim -> of each metric it needs the path; what reproduces it; what refutes it, and what leaves it undecided, all else
# staying as it is: value and half-width of an interval, or a plain number
TRIED = {
    "S1": [("sweep.all_pairs.sigma_Q", (1.0, 0.01), (1.08, 0.02), (1.04, 0.02)),
           ("sweep.all_pairs.sigma_K", (1.0, 0.01), (0.9, 0.01), (0.95, 0.01))],
    "S2": [("sweep.monte_carlo.sigma_QKt", (7.07, 0.02), (8.0, 0.1), (7.07, 0.5))],
    "S3": [("sweep.monte_carlo.largest_ratio_error", (0.01, 0.002), (0.03, 0.006), (0.015, 0.006)),
           ("sweep.monte_carlo.slope", (0.5, 0.002), (0.6, 0.05), (0.5, 0.02))],
    "S4": [("sweep.monte_carlo.sigma_QKt_scaled", (1.0, 0.01), (7.07, 0.01), (1.0, 0.06))],
    "S5": [(f"{DRAWN}.unscaled.share_of_entries_holding_half", (0.02, 0.01), (0.2, 0.05), (0.1, 0.05)),
           (f"{DRAWN}.unscaled.share_of_negligible_probabilities", (0.6, 0.01), (0.4, 0.01), (0.5, 0.01))],
    "S6": [(f"{DRAWN}.scaled.effective_share_of_entries", (0.6, 0.01), (0.4, 0.01), (0.5, 0.01)),
           (f"{DRAWN}.unscaled.effective_share_of_entries", (0.05, 0.01), (0.55, 0.01), (0.5, 0.01))],
    "S7": [*((f"{INDEPENDENT}.largest_{name}_unscaled", (0.05, 0.01), (0.2, 0.05), (0.1, 0.01)) for name in GRADIENTS),
           *((f"{INDEPENDENT}.largest_growth_of_{name}_unscaled", (0.9, 0.01), (1.1, 0.05), (1.0, 0.05))
             for name in GRADIENTS)],
    "S8": [(f"{INDEPENDENT}.lowest_gradient_by_root_d", (0.9, 0.01), (0.4, 0.05), (0.5, 0.05)),
           (f"{INDEPENDENT}.lowest_discrimination_by_root_d", (4.0, 0.5), (1.5, 0.1), (2.1, 0.5)),
           (f"{INDEPENDENT}.largest_discrimination_by_d", (1.1, 0.05), (3.0, 0.1), (2.0, 0.1)),
           (f"{WITHOUT}.share_in_zone", (0.5, 0.1), (-0.3, 0.1), (0.05, 0.1))],
    "S9": [(f"{TEMPERATURE}.reduced_chi_square", 1.01, 1.2, None),
           (f"{TEMPERATURE}.reduced_chi_square", 1.01, 0.8, None),
           (f"{TEMPERATURE}.largest_difference_from_power", 1e-15, 1e-8, None)],
    "S10": [("shares.gamma_in_range.gpt2", 0.76, 0.248, None)],
    "S11": [("shares.beta_near_zero.gpt2", 0.98, 0.3, None)],
    "S12": [("shares.gamma_below_1.gpt2", 0.9, 0.3, None)],
    "S13": [(f"{WITHOUT}.gradient_jump", (0.5, 0.1), (-0.3, 0.1), (0.05, 0.1))],
    "S14": [(f"{WITHOUT}.drift", (0.5, 0.1), (-0.3, 0.1), (-0.05, 0.1))],
    "S15": [(f"{WITHOUT}.imbalance", (0.5, 0.1), (-0.3, 0.3), (0.05, 0.1))],
    "W1": [(f"{START}.W1", (0.0, 0.0), 1e-9, None)],
    "W2": [(f"{START}.W2", (0.02, 1e-5), (0.022, 1e-5), (0.021, 1e-5))],
    "W3": [(f"{START}.W3", (0.0442, 1e-5), (0.02, 1e-5), (0.0464, 1e-3))],
    "W4": [(f"{START}.W4", (0.02, 1e-5), (0.00626, 1e-5), (0.02, 2e-3)),
           (f"{START}.W4_untied", (0.0217, 1e-5), (0.02, 1e-5), (0.0217, 2e-3))],
    "W5": [("dynamics.growth_of_std", (0.4, 0.1), (-0.2, 0.1), (0.4, 0.5)),
           (f"{BEYOND}.growth_of_std", (0.3, 0.1), (-0.2, 0.1), (0.1, 0.2))],
    "W6": [("dynamics.change_of_excess_kurtosis", (0.4, 0.1), (-0.2, 0.1), (0.1, 0.2)),
           ("dynamics.change_of_tail_mass", (0.02, 0.01), (-0.1, 0.03), (0.02, 0.03)),
           (f"{BEYOND}.change_of_excess_kurtosis", (0.3, 0.1), (-0.2, 0.1), (0.1, 0.2))],
    "W7": [(f"{where}.rank_correlation_of_{kind}_with_depth", (-0.8, 0.1), (0.5, 0.2), (-0.3, 0.4))
           for where in ("dynamics", BEYOND) for kind in ("growth", "spectral_growth")],
    "W8": [(f"{where}.lead_of_block_0_in_{kind}", (0.2, 0.03), (-0.2, 0.1), (0.2, 0.3))
           for where in ("dynamics", BEYOND) for kind in ("growth", "spectral_growth")],
    "W9": [("dynamics.lowest_early_head_entropy", (0.95, 0.01), (0.3, 0.1), (0.52, 0.05))],
}  # fmt: skip
BESIDE = {
    "sweep.one_pair.sqrt_dimension": 7.07,
    f"{TEMPERATURE}.degrees_of_freedom": 2000, f"{TEMPERATURE}.reduced_chi_square_at_temperature_1": 500.0,
    "goldilocks.thresholds.least_gradient": 0.5, "goldilocks.thresholds.least_discrimination": 2.0,
    f"{START}.W2.expected": 0.02, f"{START}.W3.expected": 0.0442,
    f"{START}.W4.expected": 0.02, f"{START}.W4_untied.expected": 0.0217,
    "dynamics.cost_of_deleting_attention": (0.8, 0.1),
    **{f"ablations.conditions.{name}.{quantity}": of for name in ("scaled", "no_layernorm")
       for quantity, of in (("cost_of_deletion", (0.8, 0.1)), ("gain_on_unigrams", (1.0, 0.1)))},
}  # fmt: skip
"""What else claims compare with, or must be so for them to be judged."""


def estimate(value, half=0.0, n=5):
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def place_of(found, path):
    """The mapping that a metric lies in, made if it is not there, and its key in it."""
    *keys, last = path.split(".")
    for key in keys:
        found = found.setdefault(key, {})
    return found, last


def metrics(changes=None):
    """Metrics of a run in which everything is measured and reproduces, but for what changes, by paths."""
    found = {}
    reproduced = {path: of for rows in TRIED.values() for path, of, *_ in rows}
    for path, of in [*reproduced.items(), *BESIDE.items(), *(changes or {}).items()]:
        place, last = place_of(found, path)
        known = place.get(last)
        if isinstance(known, dict):
            place[last] = known | estimate(*(of if isinstance(of, tuple) else (of,)))
        else:
            place[last] = estimate(*of) if isinstance(of, tuple) else of
    return found


def entries(found):
    """The entry of each claim, by its name."""
    return {entry["id"]: entry for entry in judge_all(CLAIMS, MetricTree(found, MARGINS))}


def verdicts(found):
    return {name: entry["verdict"] for name, entry in entries(found).items()}
