"""Reference figures of LayerNorm parameters: the ranges that the articles name, and what OpenAI's four GPT-2 have."""

from __future__ import annotations

GAMMA_FROM, GAMMA_TO = 0.2, 0.4
"""Where the articles say that most γ lie."""

NEAR_ZERO = 0.1
"""|β| below this counts as concentrated around 0."""

FIGURES = ("n", "mean", "std", "min", "q05", "q25", "q50", "q75", "q95", "max", "share_in_range")
GPT2: dict[str, dict[str, tuple[float, ...]]] = {
    "gpt2": {
        "gamma": (
            19200, 0.379572, 0.399113, -0.000255724, 0.189819, 0.256868, 0.301155,
            0.361679, 1.17913, 17.4193, 0.762865,
        ),
        "beta": (
            19200, 0.00754196, 0.0989014, -4.19177, -0.0362702, -0.00566393, 0.00664727,
            0.0201117, 0.0489511, 7.36832, 0.00229167,
        ),
    },
    "gpt2-medium": {
        "gamma": (
            50176, 0.472335, 0.268817, -0.000274182, 0.241053, 0.391588, 0.453073,
            0.510739, 0.673832, 19.2128, 0.247768,
        ),
        "beta": (
            50176, -0.0057762, 0.0716594, -9.0934, -0.0457842, -0.0215011, -0.00777723,
            0.00785214, 0.0423569, 2.74774, 0.00271046,
        ),
    },
    "gpt2-large": {
        "gamma": (
            93440, 0.610975, 0.14298, 3.02509e-05, 0.387643, 0.566409, 0.617753,
            0.660828, 0.783309, 2.18219, 0.0489191,
        ),
        "beta": (
            93440, 1.46664e-05, 0.0517719, -0.751575, -0.0733349, -0.0285524, -0.000782063,
            0.0267912, 0.0765869, 0.871731, 0.00225813,
        ),
    },
    "gpt2-xl": {
        "gamma": (
            155200, 0.701342, 0.145827, -0.000163414, 0.465469, 0.656784, 0.708324,
            0.76032, 0.899923, 1.9793, 0.0160374,
        ),
        "beta": (
            155200, -0.00327603, 0.051007, -0.686286, -0.0766988, -0.0305491, -0.00394878,
            0.0240102, 0.0719196, 0.97851, 0.000637887,
        ),
    },
}  # fmt: skip
"""The figures of γ and β by checkpoint of openai-community, measured once, to six significant digits."""


def of_gpt2(figure: str, kind: str, checkpoint: str = "gpt2") -> float:
    """One of `FIGURES` of a checkpoint's γ or β."""
    return GPT2[checkpoint][kind][FIGURES.index(figure)]
