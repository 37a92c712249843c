"""The conditions that ablations compare: a small Model 5 with one of its choices, or two, made otherwise.

Their base is Model 5 with a head whose logits are not divided by √width, for with the articles' head a model of this
size learns to attend only late. A condition is a row here: a further one needs no other code.
"""

from __future__ import annotations

from stages.ablation.condition import Condition

HEAD = {"head_scaled": False}
WIDER = 10.0
SCALINGS = {"scaled": ("1/√d", 0.5), "unscaled": ("no scaling", 0.0), "scaled_by_d": ("1/d", 1.0)}
STARTS: dict[str, tuple[str, dict[str, float]]] = {
    "": ("start 0.02", {}),
    "_wide_blocks": ("start 0.2 in the blocks", {"blocks": WIDER}),
    "_wide_qk": ("start 0.2 in Q and K", {"qk": WIDER}),
}
GRID = {
    f"{scaling}{start}": Condition(f"{label}, {words}", HEAD | {"attention_exponent": exponent}, factors)
    for scaling, (label, exponent) in SCALINGS.items()
    for start, (words, factors) in STARTS.items()
}
"""Every scaling of attention's logits with every width of the start."""

BASE = "scaled"
NO_LAYERNORM = "no_layernorm"
ARTICLES = "articles"
CONDITIONS = GRID | {
    "wide_embedding": Condition("start 0.2 in embedding and head", HEAD, {"embedding": WIDER}),
    "untied": Condition("head not tied", HEAD | {"tied": False}),
    NO_LAYERNORM: Condition("no LayerNorm", HEAD | {"norm": None}),
    "qk_norm": Condition("QK-norm", HEAD | {"qk_norm": True}),
    "post_layernorm": Condition("LayerNorm after the sums", HEAD | {"post_norm": True}),
    "rmsnorm": Condition("RMSNorm", HEAD | {"norm": "rmsnorm"}),
    ARTICLES: Condition("the articles' head, 1/√d"),
    "articles_unscaled": Condition("the articles' head, no scaling", {"attention_exponent": 0.0}),
}
