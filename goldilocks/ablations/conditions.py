"""The conditions that ablations compare: a small Model 5 with one of its choices, or two, made otherwise.

Their base is Model 5 with a head whose logits are not divided by √width, for with the articles' head a model of this
size learns to attend only late. A condition is a row here: a further one needs no other code.
"""

from __future__ import annotations

import math
from typing import Any

from goldilocks.ablations.condition import Condition
from goldilocks.softmax.scalings import EXPONENTS, FACTORS, OWN, OWN_FIRST

HEAD = {"head_scaled": False}
WIDER = 10.0
LABELS = FACTORS | {"unscaled": "no scaling"}
SCALINGS = {name: (LABELS[name], EXPONENTS[name]) for name in OWN_FIRST}
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

NARROW = {f"{scaling}{start}": scaling for scaling in SCALINGS for start in STARTS if start}
"""The condition with the same scaling and the usual start, for each wide start."""

BASE = OWN
NO_LAYERNORM = "no_layernorm"
NO_ATTENTION = "no_attention"
WITHOUT_ATTENTION: tuple[str, dict[str, Any]] = ("no attention", {"attention": False})
ARTICLES = "articles"
ARTICLES_UNSCALED = "articles_unscaled"
CHANGES = {
    "wide_embedding": Condition("start 0.2 in embedding and head", HEAD, {"embedding": WIDER}),
    "untied": Condition("head not tied", HEAD | {"tied": False}),
    NO_LAYERNORM: Condition("no LayerNorm", HEAD | {"norm": None}),
    "qk_norm": Condition("QK-norm", HEAD | {"qk_norm": True}),
    NO_ATTENTION: Condition(WITHOUT_ATTENTION[0], HEAD | WITHOUT_ATTENTION[1]),
    "post_layernorm": Condition("LayerNorm after the sums", HEAD | {"post_norm": True}),
    "rmsnorm": Condition("RMSNorm", HEAD | {"norm": "rmsnorm"}),
    ARTICLES: Condition("the articles' head, 1/√d"),
    ARTICLES_UNSCALED: Condition("the articles' head, no scaling", {"attention_exponent": 0.0}),
}
"""Everything else made otherwise, one choice at a time."""

BRIEF = {"blocks": 1, "steps": 501}
"""What conditions of other sizes and texts are trained with, so that they are affordable."""
KEPT = "σ√width kept"
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "brief": ("width 128, d 32", {}),
    "width_64": ("width 64, d 32", {"width": 64, "heads": 2}),
    "width_64_kept": (f"width 64, d 32, {KEPT}", {"width": 64, "heads": 2, "linear_std": 0.02 * math.sqrt(2)}),
    "width_256": ("width 256, d 32", {"width": 256, "heads": 8}),
    "width_256_kept": (f"width 256, d 32, {KEPT}", {"width": 256, "heads": 8, "linear_std": 0.02 / math.sqrt(2)}),
    "head_16": ("width 128, d 16", {"heads": 8}),
    "head_64": ("width 128, d 64", {"heads": 2}),
    "context_256": ("context 256", {"context_length": 256, "batch_size": 2, "evaluation_windows": 12}),
    "second_text": ("second text", {"text": "second_text"}),
}
"""Other sizes and texts. Initial weights are N(0, σ²): σ is 0.02, or what makes σ√width that of width 128."""
COMPARED = {
    "brief": ("unscaled", "by_d", NO_ATTENTION),
    "context_256": ("unscaled", NO_ATTENTION),
    "second_text": ("unscaled", NO_ATTENTION),
}
"""What a size is trained with beside 1/√d: where nothing else is said 1/d, as µP has it."""


def of_size(size: str) -> dict[str, Condition]:
    """The conditions of a size or text, the first of them with 1/√d."""
    label, settings = SIZES[size]
    known = {
        own: (SCALINGS[scaling][0], {"attention_exponent": SCALINGS[scaling][1]})
        for own, scaling in (("", BASE), ("unscaled", "unscaled"), ("by_d", "scaled_by_d"))
    } | {NO_ATTENTION: WITHOUT_ATTENTION}
    asked = {size: known[""]} | {f"{size}_{each}": known[each] for each in COMPARED.get(size, ("by_d",))}
    return {
        name: Condition(f"{label}, {words}", HEAD | variant, settings=BRIEF | settings)
        for name, (words, variant) in asked.items()
    }


OF_SIZES = {size: of_size(size) for size in SIZES}
MAIN = GRID | CHANGES
CONDITIONS = MAIN | {name: condition for group in OF_SIZES.values() for name, condition in group.items()}
BASES = (
    dict.fromkeys(MAIN, BASE)
    | {ARTICLES_UNSCALED: ARTICLES}
    | {name: size for size, group in OF_SIZES.items() for name in group}
)
"""The condition that each is compared with: of its own head, size and text."""
