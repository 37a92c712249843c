"""What does dividing by √d do to softmax? (claims S5-S7, S9)

Source: experiment 3 of the article on numerical scaling. Softmax of QKᵀ and of QKᵀ/√d, over each row as attention
takes it and over all entries at once as the exercise does, with the negative logarithm of each. Beside the one
realisation shown, fresh draws of Q and K tell how much of it is chance.

That the scaling is a sampling temperature (S9) is tested by two other routes than softmax(z/√d) itself: the unscaled
probabilities raised to 1/T and renormalised, and the frequencies of draws by the Gumbel-max rule
(argmax of z + T·g with standard Gumbel g follows softmax(z/T); Gumbel 1954).

Reads:  data/matrices/experiment-3.safetensors
Writes: data/softmax.parquet, reports/metrics/softmax.json, reports/plots/softmax.csv

example: python -m stages.softmax
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.common import arrays, cli, files, params, statistics, streams, tables
from stages.config.softmax import Run, Settings

MATRIX = files.DATA / "matrices" / "experiment-3.safetensors"
OUTPUT = files.DATA / "softmax.parquet"

Statistics = dict[str, Callable[[np.ndarray], np.ndarray]]


def log_softmax(z: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, by the maximum-subtracted log-sum-exp; any float shape (..., n)."""
    shifted = z - z.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def softmax(z: np.ndarray) -> np.ndarray:
    """softmax over the last axis, shape (..., n); each slice sums to 1."""
    return np.asarray(np.exp(log_softmax(z)))


def entropy(log_p: np.ndarray) -> np.ndarray:
    """Shannon entropy -Σ p log p in nats over the last axis, from log-probabilities (..., n) to (...,)."""
    return np.asarray(-(np.exp(log_p) * np.maximum(log_p, np.finfo(np.float64).min)).sum(-1))


def jacobian_norm(p: np.ndarray) -> np.ndarray:
    """Frobenius norm of the softmax Jacobian diag(p) - ppᵀ over the last axis: (..., n) to (...,).

    ‖J‖² = Σp² - 2Σp³ + (Σp²)². It is 0 for a one-hot p, √(n-1)/n for a uniform one, and at most 1/√2 · 1/√2 = 1/2
    (two entries of one half each). Close to one-hot, cancellation leaves an absolute accuracy of about 1e-8.

    Attention passes the gradient g by the probabilities on as Jg. For g of independent N(0, 1) entries E‖Jg‖² =
    E gᵀJᵀJg = tr JᵀJ = ‖J‖², so ‖J‖ is the root mean square of what it passes on.
    """
    squares = (p**2).sum(-1)
    return np.asarray(np.sqrt(np.maximum(squares - 2 * (p**3).sum(-1) + squares**2, 0.0)))


def share_holding_half(log_p: np.ndarray) -> np.ndarray:
    """The smallest share of the entries that together hold half of the probability: (..., n) to (...,)."""
    largest_first = -np.sort(-np.exp(log_p), axis=-1)
    return np.asarray(((largest_first.cumsum(-1) < 0.5).sum(-1) + 1) / log_p.shape[-1])


def trace(p: np.ndarray) -> np.ndarray:
    """The trace Σp(1 - p) = 1 - Σp² of the softmax Jacobian over the last axis: (..., n) to (...,)."""
    return np.asarray(1 - (p**2).sum(-1))


def gradient_norm(p: np.ndarray) -> np.ndarray:
    """‖p - e_t‖, that of the gradient of -ln p_t by the logits, averaged over t drawn from p: (..., n) to (...,)."""
    return np.asarray((p * np.sqrt(np.maximum(1 - 2 * p + (p**2).sum(-1, keepdims=True), 0))).sum(-1))


def of_even(measure: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A measure of p as a share of what it is for an even row, taking log-probabilities (..., n) to (...,)."""
    return lambda log_p: measure(np.exp(log_p)) / measure(np.full(log_p.shape[-1], 1 / log_p.shape[-1]))


STATISTICS: Statistics = {
    "entropy": entropy,
    "share_of_maximal_entropy": lambda log_p: entropy(log_p) / np.log(log_p.shape[-1]),
    "largest_probability": lambda log_p: np.exp(log_p.max(-1)),
    "effective_number_of_entries": lambda log_p: np.exp(entropy(log_p)),
    "effective_share_of_entries": lambda log_p: np.exp(entropy(log_p)) / log_p.shape[-1],
    "share_of_entries_holding_half": share_holding_half,
    "jacobian_norm": lambda log_p: jacobian_norm(np.exp(log_p)),
    "relative_gradient": of_even(gradient_norm),
    "relative_trace": of_even(trace),
    "relative_jacobian": of_even(jacobian_norm),
}
"""What is said of a distribution given as log-probabilities (..., n); each returns (...,)."""


def share_below(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    """The share of entries whose probability lies below a threshold, from log-probabilities (..., n) to (...,)."""
    return lambda log_p: (log_p < np.log(threshold)).mean(-1)


def with_shares(negligible: float) -> Statistics:
    """`STATISTICS`, and the shares of probabilities that are negligible, by this threshold and by two others."""
    return STATISTICS | {
        "share_of_negligible_probabilities": share_below(negligible),
        "share_below_a_hundredth_of_it": share_below(negligible / 100),
        "share_below_its_hundredfold": share_below(negligible * 100),
    }


def scalings(d: int) -> dict[str, float]:
    """The factors on QKᵀ that are compared."""
    return {"unscaled": 1.0, "scaled": 1 / float(np.sqrt(d))}


def over(log_p: np.ndarray, what: str) -> np.ndarray:
    """View log-probabilities (..., rows, columns) as distributions: the rows, or one of all entries."""
    return log_p if what == "rows" else log_p.reshape(*log_p.shape[:-2], 1, -1)


OVER_ALL = "jacobian_norm_over_all"


def trial_statistics(
    root_seed: int, rows: int, d: int, trials: int, chosen: Statistics
) -> dict[str, dict[str, np.ndarray]]:
    """Row statistics, averaged over the rows, of fresh draws: {scaling: {statistic: (trials,)}}.

    `OVER_ALL` is the norm of the Jacobian of softmax over all entries at once.
    """
    result = {scaling: {name: np.empty(trials) for name in (*chosen, OVER_ALL)} for scaling in scalings(d)}
    for trial in range(trials):
        q, k = streams.generator(root_seed, "softmax/trial", trial).standard_normal((2, rows, d))
        logits = q @ k.T
        for scaling, factor in scalings(d).items():
            log_p = log_softmax(factor * logits)
            for name, statistic in chosen.items():
                result[scaling][name][trial] = statistic(log_p).mean()
            result[scaling][OVER_ALL][trial] = jacobian_norm(softmax(over(factor * logits, "all"))).mean()
    return result


def tempered(log_p: np.ndarray, temperature: float) -> np.ndarray:
    """p^(1/T), renormalised over the last axis, from log-probabilities (p itself may have underflowed to 0)."""
    powered = np.exp(log_p / temperature)
    return np.asarray(powered / powered.sum(-1, keepdims=True))


def sampled_counts(z: np.ndarray, temperature: float, samples: int, root_seed: int) -> np.ndarray:
    """How often each entry of each row of z (rows, n) wins argmax(z + T·g) in `samples` draws: (rows, n).

    Each row has a stream of its own.
    """
    counts = np.zeros(z.shape, dtype=np.int64)
    for row, logits in enumerate(z):
        stream = streams.generator(root_seed, "softmax/gumbel", row)
        for start in range(0, samples, 10_000):
            noise = stream.gumbel(size=(min(10_000, samples - start), logits.size))
            counts[row] += np.bincount((logits + temperature * noise).argmax(-1), minlength=logits.size)
    return counts


def reduced_chi_square(counts: np.ndarray, p: np.ndarray) -> tuple[float, int]:
    """Pearson's χ² of counts (rows, n) against p (rows, n) over its degrees of freedom, and the degrees of freedom.

    The first is about 1 if p is true.

    In each row the entries that expect fewer than five counts, but never the likeliest, are pooled, with more of the
    rarest if the pool expects fewer than five. A pool that p makes impossible counts as one in 10⁹, so that the
    statistic stays finite.
    """
    total, degrees = 0.0, 0
    for observed, probability in zip(counts, p, strict=True):
        order = probability.argsort()
        expected = probability[order] * observed.sum()
        rare = max(int((expected < 5).sum()) - 1, int(np.searchsorted(expected.cumsum(), 5)))
        pool = min(rare, expected.size - 2)
        e = np.maximum(np.append(expected[: pool + 1].sum(), expected[pool + 1 :]), 1e-9 * observed.sum())
        o = np.append(observed[order][: pool + 1].sum(), observed[order][pool + 1 :])
        total += float(((o - e) ** 2 / e).sum())
        degrees += o.size - 1
    return total / max(degrees, 1), degrees


def main() -> None:
    cli.no_arguments(__doc__, "stages.softmax")
    settings, run = params.load("softmax", Settings, Run)
    pair = arrays.read(MATRIX)
    k, q = (pair[name] for name in sorted(pair))
    rows, d = q.shape
    logits = q @ k.T

    chosen = with_shares(settings.negligible)
    row, column = np.indices(logits.shape)
    metrics: dict[str, dict[str, dict[str, float]]] = {}
    parts = []
    for scaling, factor in scalings(d).items():
        metrics[scaling] = {}
        for what in ("rows", "all"):
            log_p = log_softmax(over(factor * logits, what))
            metrics[scaling][what] = {name: float(f(log_p).mean()) for name, f in chosen.items()}
            parts.append((scaling, what, factor * logits, log_p.reshape(logits.shape)))
    columns = {
        "scaling": np.repeat([part[0] for part in parts], logits.size),
        "over": np.repeat([part[1] for part in parts], logits.size),
        "row": np.tile(row.ravel(), len(parts)),
        "column": np.tile(column.ravel(), len(parts)),
        "logit": np.concatenate([part[2].ravel() for part in parts]),
        "probability": np.concatenate([np.exp(part[3]).ravel() for part in parts]),
        "surprisal": np.concatenate([-part[3].ravel() for part in parts]),
    }
    tables.write(OUTPUT, "softmax", columns, {"softmax": settings.model_dump(), "run": run.model_dump()})

    trials = trial_statistics(run.root_seed, rows, d, settings.trials, chosen)
    drawn: dict[str, Any] = {
        scaling: {name: statistics.mean_interval(values).as_metrics() for name, values in of.items()}
        for scaling, of in trials.items()
    }
    drawn |= {
        name: statistics.mean_interval(trials["unscaled"][norm] / trials["scaled"][norm]).as_metrics()
        for name, norm in (("jacobian_norm_ratio", "jacobian_norm"), ("jacobian_norm_ratio_over_all", OVER_ALL))
    }
    temperature = float(np.sqrt(d))
    scaled, unscaled = softmax(logits / temperature), softmax(logits)
    counts = sampled_counts(logits, temperature, settings.samples, run.root_seed)
    chi_square, degrees = reduced_chi_square(counts, scaled)
    files.write_metrics(
        "softmax",
        metrics
        | {
            "fresh_draws": drawn,
            "temperature": {
                "largest_difference_from_power": np.abs(tempered(log_softmax(logits), temperature) - scaled).max(),
                "reduced_chi_square": chi_square,
                "degrees_of_freedom": degrees,
                "reduced_chi_square_at_temperature_1": reduced_chi_square(counts, unscaled)[0],
            },
        },
    )
    shown = {f"{scaling}_{what}": np.sort(np.exp(p).ravel())[::-1][:100] for scaling, what, _, p in parts}
    files.write_plot("softmax", {"rank": np.arange(1, min(100, logits.size) + 1)} | shown)


if __name__ == "__main__":
    cli.run(main)
