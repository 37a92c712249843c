"""Every table of the project: its columns, types, units and meaning.

These declarations are checked when a table is written and read (`tables.py`), stand in its file's metadata, and make
docs/tables.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """A column: name, type, unit ("1" if it has none) and meaning."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


NAME = pa.dictionary(pa.int32(), pa.string())

# A line is a column: its name, type, unit and meaning. "±" after a name adds the two columns of its 95 % t interval.
SHARED = {
    "step": "step | int32 | updates | updates applied before the measurement; 0 is the untouched model",
    "block": "block | int16 | 1 | index of the block, 0 next to the embedding",
    "block or model": "block | int16 | 1 | index of the block; -1 for the whole model",
    "part": "part | string | 1 | `q`, `k`, `v`, or `qkv` for the merged matrix",
    "head": "head | int16 | 1 | index of the head; -1 for all of them, as always for the merged matrix",
    "scaling": "scaling | string | 1 | what logits are divided by: `scaled`: √d; `unscaled`: 1; `scaled_by_d`: d",
    "over seeds": """\
step
block or model
mean | double | of the quantity | mean over seeds
low | double | of the quantity | lower end of its 95 % t interval over seeds
high | double | of the quantity | upper end of its 95 % t interval over seeds
seeds | int32 | 1 | number of seeds; with one, the interval is the point""",
    "goldilocks key": """\
dimension | int32 | 1 | dimension d of the query and the keys
length | int32 | 1 | number n of keys that softmax runs over
correlation | double | 1 | correlation ρ of the query with the first key, entry by entry""",
}
"""Lines that several tables have, by what stands for them."""

DECLARED = """\
sweep: σ(QKᵀ) by dimension: the single realisation and the Monte Carlo.
dimension | int32 | 1 | columns n of Q and K
sqrt_dimension | double | 1 | √n, the theory
sigma_single | double | 1 | σ(QKᵀ) of the one saved pair
sigma_mean | double | 1 | mean σ(QKᵀ) over the trials
sigma_low | double | 1 | lower end of its 95 % interval
sigma_high | double | 1 | upper end of its 95 % interval
ratio ± | double | 1 | sigma_mean / √n
trials | int64 | 1 | number of fresh draws

softmax: Softmax of every logit of experiment 3, by scaling and by what it is taken over.
scaling | string | 1 | `unscaled`: QKᵀ; `scaled`: QKᵀ/√d
over | string | 1 | `rows`: softmax of each row; `all`: of all entries at once
row | int32 | 1 | row of QKᵀ
column | int32 | 1 | column of QKᵀ
logit | double | 1 | the entry, scaled as said
probability | double | 1 | its softmax
surprisal | double | nats | -log of its softmax

goldilocks: What softmax does at every dimension, length, correlation and logit scale of the map; means over the trials.
goldilocks key
exponent | double | 1 | -log scale / log dimension: 0 unscaled, 1/2 for 1/√d, 1 for 1/d
scale | double | 1 | what the logits are multiplied with
normalised_entropy ± | double | 1 | entropy of the softmax over its maximum log n
largest_probability ± | double | 1 | largest probability
effective_entries ± | double | entries | exp of the entropy in nats
jacobian_norm ± | double | 1 | Frobenius norm of the softmax Jacobian
gradient_norm ± | double | 1 | norm of the gradient of -log p_t by the logits, t drawn from p
relative_gradient ± | double | 1 | gradient_norm over that of an even softmax, √(1 - 1/n)
discrimination ± | double | 1 | largest_probability over that of an even softmax, 1/n
zone | string | 1 | `inside`, `outside` or, where an interval holds a threshold, `undecided`
trials | int64 | 1 | number of queries, each with keys of its own

goldilocks_zone: Between which logit scales softmax both learns and tells entries apart.
goldilocks key
lower | double | 1 | the scale from which on discrimination is large enough
upper | double | 1 | the scale up to which the gradient is large enough
lower_exponent | double | 1 | the lower edge as -log scale / log dimension
upper_exponent | double | 1 | the upper edge likewise
lower_beyond | bool | 1 | whether the lower edge lies beyond the map, whose end stands for it
upper_beyond | bool | 1 | whether the upper edge does
decades | double | decades | log₁₀ upper / lower, 0 if there is no zone

formats: What fp32, bf16 and fp16 make of softmax, by dimension.
format | string | 1 | `fp32`, `bf16` or `fp16`
scaling | string | 1 | `unscaled`: softmax of q·k; `scaled`: of q·k/√d
softmax | string | 1 | `naive`: exp(z)/Σexp(z); `subtracted`: of z less the row's maximum
keys | string | 1 | `independent` of q; `aligned`: the row's first key equals its q
dimension | int32 | 1 | entries d of q and of k
dot_product_overflow | double | 1 | share of rows in which a dot product is infinite
exp_overflow | double | 1 | share of rows in which exp of a finite number is infinite
sum_overflow | double | 1 | share of rows whose sum is infinite though every exp is finite
not_finite | double | 1 | share of rows with a result that is infinite or no number
subnormal_exp | double | 1 | share of rows in which exp is subnormal
zero_exp | double | 1 | share of rows in which exp rounds to 0
equal_logits | double | 1 | share of rows whose two largest logits differ in float64 only
subnormal_entries | double | 1 | share of entries whose exp is subnormal
zero_entries | double | 1 | share of entries whose exp rounds to 0
finite_rows | int32 | 1 | rows with finite results; the rest is about them, NaN if there is none
relative_error | double | 1 | of the probability that is largest in float64, median over rows
total_variation | double | 1 | mean over rows of half of Σ|p - p_float64|
largest_total_variation | double | 1 | the same of the worst row

layernorm: Every norm's parameters of every checkpoint surveyed.
model | string | 1 | name of the checkpoint
revision | string | 1 | its commit, where there is one
family | string | 1 | whose names and places its norms have, such as `GPT-2`
block | int16 | 1 | index of the block; -1 after the last, -2 before the first
place | string | 1 | what it normalises: `attention input`, `mlp input`, `final`, …
kind | string | 1 | `gamma` (weight) or `beta` (bias)
index | int32 | 1 | position in the vector
value | float | 1 | the factor or shift as the model applies it; not finite if stored so
stored | string | 1 | the type it is stored in: `F32`, `F16`, `BF16` or `F64`

losses: Cross-entropy of Model 5 during training.
step
split | string | 1 | `train`: the step's batch; `test`: the fixed test windows; `test_without_attention`: these, \
attention adding nothing; `unigram` and `bigram`: these, by counts of the training text
loss | double | nats/token | mean cross-entropy

initialisation: Model 5's parameters before the first update, against what the initialisation promises.
claim | string | 1 | the claim it is about
quantity | string | 1 | what was measured
measured | double | 1 | its value
expected | double | 1 | the exact value expected for the sizes in use
tolerance | double | 1 | four standard errors of the measurement
n | int64 | 1 | number of parameters behind it

weights: The QKV weights by block, part and head at every snapshot: their distribution, and their size as matrices.
step
block
part
head
std | double | 1 | standard deviation
mean | double | 1 | mean
excess_kurtosis | double | 1 | m₄/m₂² - 3; 0 for a normal distribution
tail_mass | double | 1 | share beyond ±`train.tail_sigmas` initial standard deviations
q01 | double | 1 | 1 % quantile
q05 | double | 1 | 5 % quantile
q25 | double | 1 | 25 % quantile
q50 | double | 1 | 50 % quantile
q75 | double | 1 | 75 % quantile
q95 | double | 1 | 95 % quantile
q99 | double | 1 | 99 % quantile
min | double | 1 | smallest weight
max | double | 1 | largest weight
frobenius_norm | double | 1 | ‖W‖_F, the root of the sum of squares
spectral_norm | double | 1 | ‖W‖₂, the largest singular value
stable_rank | double | 1 | ‖W‖_F²/‖W‖₂²: how many directions carry the matrix
cosine_to_initial | double | 1 | cosine of the angle between W and the initial W, as vectors

updates: The update made from the QKV weights of every snapshot, by block, part and head.
step
block
part
head
gradient_norm | double | nats/token | ‖∂loss/∂W‖_F at these weights, of the step's batch
update_ratio | double | 1 | ‖W' - W‖_F/‖W‖_F, W' being the weights one update later

histograms: Histogram of the QKV weights by block and part at every snapshot; the counts add up to the matrix.
step
block
part
bin | int16 | 1 | 0 is the underflow bin, the last one the overflow bin
left | double | 1 | left edge; -∞ for the underflow bin
right | double | 1 | right edge; ∞ for the overflow bin
count | int64 | weights | weights in [left, right)

attention: What softmax does inside Model 5, on fixed test windows, at every snapshot, in each scaling of the logits.
step
scaling
block
head | int16 | 1 | index of the head
normalised_entropy | double | 1 | entropy of the rows over its maximum log(visible), mean
largest_probability | double | 1 | mean of the rows' largest probability
effective_share | double | 1 | exp(entropy) over visible, mean of rows that see half the window
share_holding_half | double | 1 | share of the visible that hold half of the probability, same rows
share_negligible | double | 1 | share of the visible with a probability under 1e-6, same rows
jacobian_norm | double | 1 | Frobenius norm of softmax's Jacobian, mean of the same rows
relative_gradient | double | 1 | norm of the gradient of -log p_t by the logits, t drawn from p, over an even \
softmax's, same rows
discrimination | double | 1 | largest probability times visible, mean of the same rows
logit_mean | double | 1 | mean of the visible logits, scaled as said
logit_std | double | 1 | their standard deviation
logit_skewness | double | 1 | their skewness m₃/m₂^1.5; 0 for a normal distribution
logit_excess_kurtosis | double | 1 | their m₄/m₂² - 3; 0 for a normal distribution
largest_logit | double | 1 | the largest of them in absolute value
centred_cosine | double | 1 | RMS cosine of q and the k it sees, less its row's mean, same rows; 1/√d if they are \
independent
own_cosine | double | 1 | mean cosine of q and the k at its own position, same rows

inference: Loss of Model 5 at the last snapshot with attention's logits scaled so in every block, on the same windows.
step
scaling
loss | double | nats/token | mean cross-entropy

logit_histograms: Histogram of attention's visible logits by block, each less its head's mean and over its head's σ.
step
block
bin | int16 | 1 | 0 is the underflow bin, the last one the overflow bin
left | double | σ | left edge; -∞ for the underflow bin
right | double | σ | right edge; ∞ for the overflow bin
count | int64 | logits | logits in [left, right)

ablation: What one run of an ablation noted.
quantity | string | 1 | which one: `test_loss`, `attention_entropy`, `residual_rms`, …
step
block or model
head
value | double | of the quantity | its value; losses in nats/token, entropy as a share

logits: What softmax does inside Model 5 in each scaling of its logits, and how normal they are, over seeds.
quantity | string | 1 | which one: `effective_share`, `gaussian_distance`, `loss`, …
scaling
over seeds

dynamics: Model 5's quantities over seeds.
quantity | string | 1 | which one: `std`, `excess_kurtosis`, `tail_mass`, `train_loss`, …
over seeds
"""


def _columns(lines: str) -> Iterator[Column]:
    for line in lines.splitlines():
        if line in SHARED:
            yield from _columns(SHARED[line])
            continue
        name, kind, unit, meaning = line.split(" | ", 3)
        column = Column(name.removesuffix(" ±"), NAME if kind == "string" else pa.type_for_alias(kind), unit, meaning)
        yield column
        if name != column.name:
            for end, which in (("low", "lower"), ("high", "upper")):
                yield column._replace(name=f"{column.name}_{end}", meaning=f"{which} end of its 95 % interval")


def _declared() -> Iterator[tuple[str, tuple[str, tuple[Column, ...]]]]:
    for paragraph in DECLARED.split("\n\n"):
        title, _, lines = paragraph.partition("\n")
        name, _, meaning = title.partition(": ")
        yield name, (meaning, tuple(_columns(lines)))


TABLES = dict(_declared())
"""The meaning and the columns of each table, by its name."""

(STEP,) = _columns("step")


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
