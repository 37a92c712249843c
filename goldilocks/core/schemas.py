"""Every table of the project: its columns, types, units and meaning.

These declarations are checked when a table is written and read (`tables.py`), stand in its file's metadata, and make
docs/tables.md.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """A column: name, type, unit ("1" if it has none) and meaning."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


NAME = pa.dictionary(pa.int32(), pa.string())
STEP = Column("step", pa.int32(), "updates", "updates applied before the measurement; 0 is the untouched model")
BLOCK = Column("block", pa.int16(), "1", "index of the block, 0 next to the embedding")
PART = Column("part", NAME, "1", "`q`, `k`, `v`, or `qkv` for the merged matrix")
HEAD = Column("head", pa.int16(), "1", "index of the head; -1 for all of them, as always for the merged matrix")
SCALING = Column("scaling", NAME, "1", "what logits are divided by: `scaled`: √d; `unscaled`: 1; `scaled_by_d`: d")
OVER_SEEDS = (
    STEP,
    Column("block", pa.int16(), "1", "index of the block; -1 for the whole model"),
    Column("mean", pa.float64(), "of the quantity", "mean over seeds"),
    Column("low", pa.float64(), "of the quantity", "lower end of its 95 % t interval over seeds"),
    Column("high", pa.float64(), "of the quantity", "upper end of its 95 % t interval over seeds"),
    Column("seeds", pa.int32(), "1", "number of seeds; with one, the interval is the point"),
)
GOLDILOCKS_KEY = (
    Column("dimension", pa.int32(), "1", "dimension d of the query and the keys"),
    Column("length", pa.int32(), "1", "number n of keys that softmax runs over"),
    Column("correlation", pa.float64(), "1", "correlation ρ of the query with the first key, entry by entry"),
)


def _with_interval(name: str, unit: str, meaning: str) -> tuple[Column, ...]:
    """The columns of a mean and of its 95 % t interval."""
    return (
        Column(name, pa.float64(), unit, meaning),
        Column(f"{name}_low", pa.float64(), unit, "lower end of its 95 % interval"),
        Column(f"{name}_high", pa.float64(), unit, "upper end of its 95 % interval"),
    )


TABLES: dict[str, tuple[str, tuple[Column, ...]]] = {
    "sweep": (
        "σ(QKᵀ) by dimension: the single realisation and the Monte Carlo.",
        (
            Column("dimension", pa.int32(), "1", "columns n of Q and K"),
            Column("sqrt_dimension", pa.float64(), "1", "√n, the theory"),
            Column("sigma_single", pa.float64(), "1", "σ(QKᵀ) of the one saved pair"),
            Column("sigma_mean", pa.float64(), "1", "mean σ(QKᵀ) over the trials"),
            Column("sigma_low", pa.float64(), "1", "lower end of its 95 % interval"),
            Column("sigma_high", pa.float64(), "1", "upper end of its 95 % interval"),
            Column("ratio", pa.float64(), "1", "sigma_mean / √n"),
            Column("ratio_low", pa.float64(), "1", "lower end of its 95 % interval"),
            Column("ratio_high", pa.float64(), "1", "upper end of its 95 % interval"),
            Column("trials", pa.int64(), "1", "number of fresh draws"),
        ),
    ),
    "softmax": (
        "Softmax of every logit of experiment 3, by scaling and by what it is taken over.",
        (
            Column("scaling", NAME, "1", "`unscaled`: QKᵀ; `scaled`: QKᵀ/√d"),
            Column("over", NAME, "1", "`rows`: softmax of each row; `all`: of all entries at once"),
            Column("row", pa.int32(), "1", "row of QKᵀ"),
            Column("column", pa.int32(), "1", "column of QKᵀ"),
            Column("logit", pa.float64(), "1", "the entry, scaled as said"),
            Column("probability", pa.float64(), "1", "its softmax"),
            Column("surprisal", pa.float64(), "nats", "-log of its softmax"),
        ),
    ),
    "goldilocks": (
        "What softmax does at every dimension, length, correlation and logit scale of the map; means over the trials.",
        (
            *GOLDILOCKS_KEY,
            Column("exponent", pa.float64(), "1", "-log scale / log dimension: 0 unscaled, 1/2 for 1/√d, 1 for 1/d"),
            Column("scale", pa.float64(), "1", "what the logits are multiplied with"),
            *_with_interval("normalised_entropy", "1", "entropy of the softmax over its maximum log n"),
            *_with_interval("largest_probability", "1", "largest probability"),
            *_with_interval("effective_entries", "entries", "exp of the entropy in nats"),
            *_with_interval("jacobian_norm", "1", "Frobenius norm of the softmax Jacobian"),
            *_with_interval("gradient_norm", "1", "norm of the gradient of -log p_t by the logits, t drawn from p"),
            *_with_interval("relative_gradient", "1", "gradient_norm over that of an even softmax, √(1 - 1/n)"),
            *_with_interval("discrimination", "1", "largest_probability over that of an even softmax, 1/n"),
            Column("zone", NAME, "1", "`inside`, `outside` or, where an interval holds a threshold, `undecided`"),
            Column("trials", pa.int64(), "1", "number of queries, each with keys of its own"),
        ),
    ),
    "goldilocks_zone": (
        "Between which logit scales softmax both learns and tells entries apart.",
        (
            *GOLDILOCKS_KEY,
            Column("lower", pa.float64(), "1", "the scale from which on discrimination is large enough"),
            Column("upper", pa.float64(), "1", "the scale up to which the gradient is large enough"),
            Column("lower_exponent", pa.float64(), "1", "the lower edge as -log scale / log dimension"),
            Column("upper_exponent", pa.float64(), "1", "the upper edge likewise"),
            Column(
                "lower_beyond", pa.bool_(), "1", "whether the lower edge lies beyond the map, whose end stands for it"
            ),
            Column("upper_beyond", pa.bool_(), "1", "whether the upper edge does"),
            Column("decades", pa.float64(), "decades", "log₁₀ upper / lower, 0 if there is no zone"),
        ),
    ),
    "formats": (
        "What fp32, bf16 and fp16 make of softmax, by dimension.",
        (
            Column("format", NAME, "1", "`fp32`, `bf16` or `fp16`"),
            Column("scaling", NAME, "1", "`unscaled`: softmax of q·k; `scaled`: of q·k/√d"),
            Column("softmax", NAME, "1", "`naive`: exp(z)/Σexp(z); `subtracted`: of z less the row's maximum"),
            Column("keys", NAME, "1", "`independent` of q; `aligned`: the row's first key equals its q"),
            Column("dimension", pa.int32(), "1", "entries d of q and of k"),
            Column("dot_product_overflow", pa.float64(), "1", "share of rows in which a dot product is infinite"),
            Column("exp_overflow", pa.float64(), "1", "share of rows in which exp of a finite number is infinite"),
            Column("sum_overflow", pa.float64(), "1", "share of rows whose sum is infinite though every exp is finite"),
            Column("not_finite", pa.float64(), "1", "share of rows with a result that is infinite or no number"),
            Column("subnormal_exp", pa.float64(), "1", "share of rows in which exp is subnormal"),
            Column("zero_exp", pa.float64(), "1", "share of rows in which exp rounds to 0"),
            Column("equal_logits", pa.float64(), "1", "share of rows whose two largest logits differ in float64 only"),
            Column("subnormal_entries", pa.float64(), "1", "share of entries whose exp is subnormal"),
            Column("zero_entries", pa.float64(), "1", "share of entries whose exp rounds to 0"),
            Column(
                "finite_rows", pa.int32(), "1", "rows with finite results; the rest is about them, NaN if there is none"
            ),
            Column(
                "relative_error", pa.float64(), "1", "of the probability that is largest in float64, median over rows"
            ),
            Column("total_variation", pa.float64(), "1", "mean over rows of half of Σ|p - p_float64|"),
            Column("largest_total_variation", pa.float64(), "1", "the same of the worst row"),
        ),
    ),
    "layernorm": (
        "Every norm's parameters of every checkpoint surveyed.",
        (
            Column("model", NAME, "1", "name of the checkpoint"),
            Column("revision", NAME, "1", "its commit, where there is one"),
            Column("family", NAME, "1", "whose names and places its norms have, such as `GPT-2`"),
            Column("block", pa.int16(), "1", "index of the block; -1 after the last, -2 before the first"),
            Column("place", NAME, "1", "what it normalises: `attention input`, `mlp input`, `final`, …"),
            Column("kind", NAME, "1", "`gamma` (weight) or `beta` (bias)"),
            Column("index", pa.int32(), "1", "position in the vector"),
            Column("value", pa.float32(), "1", "the factor or shift as the model applies it; not finite if stored so"),
            Column("stored", NAME, "1", "the type it is stored in: `F32`, `F16`, `BF16` or `F64`"),
        ),
    ),
    "losses": (
        "Cross-entropy of Model 5 during training.",
        (
            STEP,
            Column(
                "split",
                NAME,
                "1",
                "`train`: the step's batch; `test`: the fixed test windows; `test_without_attention`: these, attention "
                "adding nothing; `unigram` and `bigram`: these, by counts of the training text",
            ),
            Column("loss", pa.float64(), "nats/token", "mean cross-entropy"),
        ),
    ),
    "initialisation": (
        "Model 5's parameters before the first update, against what the initialisation promises.",
        (
            Column("claim", NAME, "1", "the claim it is about"),
            Column("quantity", NAME, "1", "what was measured"),
            Column("measured", pa.float64(), "1", "its value"),
            Column("expected", pa.float64(), "1", "the exact value expected for the sizes in use"),
            Column("tolerance", pa.float64(), "1", "four standard errors of the measurement"),
            Column("n", pa.int64(), "1", "number of parameters behind it"),
        ),
    ),
    "weights": (
        "The QKV weights by block, part and head at every snapshot: their distribution, and their size as matrices.",
        (
            STEP,
            BLOCK,
            PART,
            HEAD,
            Column("std", pa.float64(), "1", "standard deviation"),
            Column("mean", pa.float64(), "1", "mean"),
            Column("excess_kurtosis", pa.float64(), "1", "m₄/m₂² - 3; 0 for a normal distribution"),
            Column("tail_mass", pa.float64(), "1", "share beyond ±`train.tail_sigmas` initial standard deviations"),
            *(
                Column(f"q{percent:02d}", pa.float64(), "1", f"{percent} % quantile")
                for percent in (1, 5, 25, 50, 75, 95, 99)
            ),
            Column("min", pa.float64(), "1", "smallest weight"),
            Column("max", pa.float64(), "1", "largest weight"),
            Column("frobenius_norm", pa.float64(), "1", "‖W‖_F, the root of the sum of squares"),
            Column("spectral_norm", pa.float64(), "1", "‖W‖₂, the largest singular value"),
            Column("stable_rank", pa.float64(), "1", "‖W‖_F²/‖W‖₂²: how many directions carry the matrix"),
            Column(
                "cosine_to_initial", pa.float64(), "1", "cosine of the angle between W and the initial W, as vectors"
            ),
        ),
    ),
    "updates": (
        "The update made from the QKV weights of every snapshot, by block, part and head.",
        (
            STEP,
            BLOCK,
            PART,
            HEAD,
            Column("gradient_norm", pa.float64(), "nats/token", "‖∂loss/∂W‖_F at these weights, of the step's batch"),
            Column("update_ratio", pa.float64(), "1", "‖W' - W‖_F/‖W‖_F, W' being the weights one update later"),
        ),
    ),
    "histograms": (
        "Histogram of the QKV weights by block and part at every snapshot; the counts add up to the matrix.",
        (
            STEP,
            BLOCK,
            PART,
            Column("bin", pa.int16(), "1", "0 is the underflow bin, the last one the overflow bin"),
            Column("left", pa.float64(), "1", "left edge; -∞ for the underflow bin"),
            Column("right", pa.float64(), "1", "right edge; ∞ for the overflow bin"),
            Column("count", pa.int64(), "weights", "weights in [left, right)"),
        ),
    ),
    "attention": (
        "What softmax does inside Model 5, on fixed test windows, at every snapshot, in each scaling of the logits.",
        (
            STEP,
            SCALING,
            BLOCK,
            Column("head", pa.int16(), "1", "index of the head"),
            Column("normalised_entropy", pa.float64(), "1", "entropy of the rows over its maximum log(visible), mean"),
            Column("largest_probability", pa.float64(), "1", "mean of the rows' largest probability"),
            Column(
                "effective_share", pa.float64(), "1", "exp(entropy) over visible, mean of rows that see half the window"
            ),
            Column(
                "share_holding_half",
                pa.float64(),
                "1",
                "share of the visible that hold half of the probability, same rows",
            ),
            Column(
                "share_negligible", pa.float64(), "1", "share of the visible with a probability under 1e-6, same rows"
            ),
            Column("jacobian_norm", pa.float64(), "1", "Frobenius norm of softmax's Jacobian, mean of the same rows"),
            Column(
                "relative_gradient",
                pa.float64(),
                "1",
                "norm of the gradient of -log p_t by the logits, t drawn from p, over an even softmax's, same rows",
            ),
            Column("discrimination", pa.float64(), "1", "largest probability times visible, mean of the same rows"),
            Column("logit_mean", pa.float64(), "1", "mean of the visible logits, scaled as said"),
            Column("logit_std", pa.float64(), "1", "their standard deviation"),
            Column("logit_skewness", pa.float64(), "1", "their skewness m₃/m₂^1.5; 0 for a normal distribution"),
            Column("logit_excess_kurtosis", pa.float64(), "1", "their m₄/m₂² - 3; 0 for a normal distribution"),
            Column("largest_logit", pa.float64(), "1", "the largest of them in absolute value"),
            Column(
                "centred_cosine",
                pa.float64(),
                "1",
                "RMS cosine of q and the k it sees, less its row's mean, same rows; 1/√d if they are independent",
            ),
            Column("own_cosine", pa.float64(), "1", "mean cosine of q and the k at its own position, same rows"),
        ),
    ),
    "inference": (
        "Loss of Model 5 at the last snapshot with attention's logits scaled so in every block, on the same windows.",
        (STEP, SCALING, Column("loss", pa.float64(), "nats/token", "mean cross-entropy")),
    ),
    "logit_histograms": (
        "Histogram of attention's visible logits by block, each less its head's mean and over its head's σ.",
        (
            STEP,
            BLOCK,
            Column("bin", pa.int16(), "1", "0 is the underflow bin, the last one the overflow bin"),
            Column("left", pa.float64(), "σ", "left edge; -∞ for the underflow bin"),
            Column("right", pa.float64(), "σ", "right edge; ∞ for the overflow bin"),
            Column("count", pa.int64(), "logits", "logits in [left, right)"),
        ),
    ),
    "ablation": (
        "What one run of an ablation noted.",
        (
            Column("quantity", NAME, "1", "which one: `test_loss`, `attention_entropy`, `residual_rms`, …"),
            STEP,
            Column("block", pa.int16(), "1", "index of the block; -1 for the whole model"),
            HEAD,
            Column("value", pa.float64(), "of the quantity", "its value; losses in nats/token, entropy as a share"),
        ),
    ),
    "logits": (
        "What softmax does inside Model 5 in each scaling of its logits, and how normal they are, over seeds.",
        (
            Column("quantity", NAME, "1", "which one: `effective_share`, `gaussian_distance`, `loss`, …"),
            SCALING,
            *OVER_SEEDS,
        ),
    ),
    "dynamics": (
        "Model 5's quantities over seeds.",
        (
            Column("quantity", NAME, "1", "which one: `std`, `excess_kurtosis`, `tail_mass`, `train_loss`, …"),
            *OVER_SEEDS,
        ),
    ),
}


def schema(table: str) -> pa.Schema:
    """The declared Arrow schema of a table."""
    _, columns = TABLES[table]
    return pa.schema(
        pa.field(c.name, c.type, nullable=False, metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns
    )


def markdown() -> str:
    """The tables' documentation, a section of docs/tables.md."""
    lines: list[str] = []
    for table, (meaning, columns) in TABLES.items():
        lines += [f"**`{table}`**: {meaning}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in columns:
            kind = "string" if c.type == NAME else str(c.type)
            meaning_ = c.meaning.replace("|", "\\|")
            lines.append(f"| `{c.name}` | {kind} | {c.unit} | {meaning_} |")
        lines.append("")
    return "\n".join(lines)
