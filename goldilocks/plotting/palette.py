"""The same colour and name for the same thing, in every figure and on the page.

Every colour of a line or a dot has a contrast of 3 to 1 or more on white. On a dark ground `DARK` has others.
"""

from __future__ import annotations

BLUE, ORANGE, GREEN, RED, SKY, TEAL, BLACK = (
    "#0072B2", "#B98300", "#009E73", "#D55E00", "#2E94D6", "#009AA2", "#000000",
)  # fmt: skip
INDIGO, WINE, BROWN, NAVY, FOREST, ULTRAMARINE = "#332288", "#882255", "#6B4A00", "#00305E", "#00553A", "#4B00FF"
GREY, PALE = "#767676", "#E4E4E4"

SCALINGS = {"unscaled": RED, "scaled": BLUE, "scaled_by_d": GREEN}
MATRICES = {"q": SKY, "k": ORANGE, "v": INDIGO}
KINDS = {"gamma": INDIGO, "beta": WINE}
FORMATS = {"fp32": BLACK, "bf16": SKY, "fp16": ORANGE}
LOSSES = {"train": GREY, "test": BLUE, "test_without_attention": RED}
CHANGES = {
    "wide_embedding": TEAL, "untied": ORANGE, "no_layernorm": INDIGO, "qk_norm": BROWN, "no_attention": ULTRAMARINE,
    "post_layernorm": GREEN,
    "rmsnorm": FOREST, "articles": BLACK, "articles_unscaled": NAVY,
}  # fmt: skip
"""Of the ablations' single changes; those of one panel differ."""

PLACES = {
    "attention input": BLUE, "mlp input": ORANGE, "attention output": WINE, "mlp output": BROWN, "final": BLACK,
}  # fmt: skip
ENDS = (ORANGE, BLUE)  # the first and the last step
ORDERED = "viridis"
ORDERED_TO = 0.59  # lines end here, beyond which it is too pale on white
VIRIDIS = (
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
)  # fmt: skip
"""Viridis at 0, 1/8, … 1, for the page, which draws without Matplotlib."""

DARK = {
    BLUE: "#58A6E8", ORANGE: "#E0A62B", GREEN: "#35C496", RED: "#F5844A", SKY: "#7CC4F5", WINE: "#DE7FB2",
    BROWN: "#B98F3D", BLACK: "#E6EDF3", GREY: "#9AA4AF", INDIGO: "#A99BF0",
}  # fmt: skip
"""What the page shows on a dark ground in place of a colour."""

GPT2_SIZES = {"gpt2": "GPT-2 small", "gpt2-medium": "GPT-2 medium", "gpt2-large": "GPT-2 large", "gpt2-xl": "GPT-2 XL"}
"""OpenAI's four GPT-2, which are told apart from checkpoints that a run surveys."""
