"""A figure of anyone's training: how Q, K and V grow, block by block."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from goldilocks.plotting.style import headline, ordered_colours, subplots

PARTS = ("q", "k", "v")


def std_by_block(frame: pd.DataFrame) -> Figure:
    """σ of Q, K and V over the steps, a line a block, the first dark.

    Args:
        frame: as `goldilocks.weights` gives it.
    """
    whole = frame[frame["head"] == -1]
    figure, panels = subplots(0.55, 1, len(PARTS), sharey=True)
    modules = list(dict.fromkeys(whole["module"]))
    colours = ordered_colours(len(modules))
    for axes, part in zip(panels, PARTS, strict=True):
        of_part = whole[whole["part"] == part]
        for module, colour in zip(modules, colours, strict=True):
            line = of_part[of_part["module"] == module].sort_values("step")
            axes.plot(line["step"], line["std"], color=colour, lw=1.5, marker="." if len(line) == 1 else "")
        axes.set(title=part.upper(), xlabel="step (updates)")
    panels[0].set_ylabel("σ of the weights")
    last = whole[(whole["step"] == whole["step"].max()) & whole["part"].isin(PARTS)]
    growth = last.groupby("part")["growth"].mean()
    told = ", ".join(f"{part.upper()} {growth[part]:.2f}" for part in PARTS)
    steps = whole["step"].nunique()
    return headline(
        figure,
        f"σ of the weights over the first checkpoint's: {told}",
        f"One training, {steps} checkpoints; a line a block, the first dark. In the title: the end, mean of blocks.",
    )
