"""The same colour for the same thing, in every figure and on the page."""

from __future__ import annotations

# Okabe and Ito's palette with a slightly lighter orange, and two colours of Tol's.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = (
    "#0072B2", "#EBA900", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000",
)  # fmt: skip
INDIGO, WINE = "#332288", "#882255"
GREY, PALE = "#767676", "#E4E4E4"

SCALINGS = {"unscaled": RED, "scaled": BLUE, "scaled_by_d": GREEN}
MATRICES = {"q": SKY, "k": ORANGE, "v": PURPLE}
KINDS = {"gamma": INDIGO, "beta": WINE}
FORMATS = {"fp32": BLACK, "bf16": SKY, "fp16": ORANGE}
LOSSES = {"train": GREY, "test": BLUE, "test_without_attention": RED}
CHANGES = {
    "wide_embedding": SKY, "untied": ORANGE, "no_layernorm": PURPLE, "qk_norm": BLACK, "no_attention": GREY,
    "post_layernorm": SKY, "rmsnorm": ORANGE, "articles": BLACK, "articles_unscaled": RED,
}  # fmt: skip
"""Of the ablations' single changes; those of one panel differ."""

PLACES = {
    "attention input": BLUE, "mlp input": ORANGE, "attention output": WINE, "mlp output": SKY, "final": BLACK,
}  # fmt: skip
ENDS = (ORANGE, BLUE)  # the first and the last step
TOGETHER = (  # colours that occur in one figure, which must be easy to tell apart
    (*SCALINGS.values(), BLACK), (*MATRICES.values(), RED), tuple(KINDS.values()), tuple(FORMATS.values()),
    tuple(LOSSES.values()), (SKY, ORANGE, PURPLE, BLACK, GREY, BLUE),
    (SKY, ORANGE, BLACK, RED, BLUE), tuple(PLACES.values()), (*ENDS, BLACK),
    (RED, GREY), (BLUE, GREY),
)  # fmt: skip
ORDERED = "viridis"
