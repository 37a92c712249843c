"""What the LayerNorms of OpenAI's four GPT-2 are known to be, so that a damaged or other file of that name is noticed.

Figures measured once on openai-community/gpt2, gpt2-medium, gpt2-large and gpt2-xl, to six significant digits.
"""

from __future__ import annotations

from stages.survey.extract import Extraction
from stages.survey.families import BETA, GAMMA
from stages.survey.summary import by_kind

FIGURES = ("n", "mean", "std", "min", "q05", "q25", "q50", "q75", "q95", "max", "share_in_range")
REFERENCE: dict[str, dict[str, tuple[float, ...]]] = {
    "gpt2": {
        GAMMA: (
            19200, 0.379572, 0.399113, -0.000255724, 0.189819, 0.256868, 0.301155,
            0.361679, 1.17913, 17.4193, 0.762865,
        ),
        BETA: (
            19200, 0.00754196, 0.0989014, -4.19177, -0.0362702, -0.00566393, 0.00664727,
            0.0201117, 0.0489511, 7.36832, 0.00229167,
        ),
    },
    "gpt2-medium": {
        GAMMA: (
            50176, 0.472335, 0.268817, -0.000274182, 0.241053, 0.391588, 0.453073,
            0.510739, 0.673832, 19.2128, 0.247768,
        ),
        BETA: (
            50176, -0.0057762, 0.0716594, -9.0934, -0.0457842, -0.0215011, -0.00777723,
            0.00785214, 0.0423569, 2.74774, 0.00271046,
        ),
    },
    "gpt2-large": {
        GAMMA: (
            93440, 0.610975, 0.14298, 3.02509e-05, 0.387643, 0.566409, 0.617753,
            0.660828, 0.783309, 2.18219, 0.0489191,
        ),
        BETA: (
            93440, 1.46664e-05, 0.0517719, -0.751575, -0.0733349, -0.0285524, -0.000782063,
            0.0267912, 0.0765869, 0.871731, 0.00225813,
        ),
    },
    "gpt2-xl": {
        GAMMA: (
            155200, 0.701342, 0.145827, -0.000163414, 0.465469, 0.656784, 0.708324,
            0.76032, 0.899923, 1.9793, 0.0160374,
        ),
        BETA: (
            155200, -0.00327603, 0.051007, -0.686286, -0.0766988, -0.0305491, -0.00394878,
            0.0240102, 0.0719196, 0.97851, 0.000637887,
        ),
    },
}  # fmt: skip
TOLERANCE = 6e-6  # relative; the figures have six digits


def differences(extraction: Extraction, reference: str) -> list[str]:
    """The figures in which an extraction differs from one of the four."""
    found = by_kind(extraction, 0.2, 0.4, 0.1)
    told = []
    for kind, expected in REFERENCE[reference].items():
        for name, value in zip(FIGURES, expected, strict=True):
            here = found.get(kind, {}).get(name)
            if here is None or abs(here - value) > TOLERANCE * abs(value):
                told.append(f"{kind} {name} {'missing' if here is None else f'{here:.6g}'} instead of {value:.6g}")
    return told


def warnings(extraction: Extraction) -> list[str]:
    """What to say of a checkpoint that is called as one of the four, but is not it."""
    if extraction.model not in REFERENCE:
        return []
    told = differences(extraction, extraction.model)
    if not told:
        return []
    more = f" and {len(told) - 3} more" if told[3:] else ""
    return [f"WARNING: these are not the LayerNorms of OpenAI's {extraction.model}: {', '.join(told[:3])}{more}"]
