"""The interactive chart of Model 5's QKV weights: their histograms at every snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import deserialize

from goldilocks.core import files
from goldilocks.page.charts.base import Chart, Columns, Control, Explorer, eight_bits
from goldilocks.softmax import floats

PARTS = {"q": "Q", "k": "K", "v": "V"}
BINS = 50
MOST_HISTOGRAMS = 1500  # some 150 KB of the page


def snapshot(path: Path) -> list[np.ndarray]:
    """The QKV weights of each block in a snapshot, (3 · width, width) float32 each."""
    found = {}
    for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        half = tensor["dtype"] == "BF16"
        stored = np.frombuffer(tensor["data"], "<u2" if half else "<f4").reshape(tensor["shape"])
        found[int(name.split(".")[1])] = floats.from_bf16_bits(stored) if half else stored  # of blocks.N.
    return [weights for _, weights in sorted(found.items())]


def histograms(run: Path, limit: float, heads: int) -> Explorer:
    """Histograms of the QKV weights at every snapshot, by block, part and head.

    Of large models, the page has only as many snapshots as fit: evenly spaced, with the first and the last.

    Args:
        run: the outputs of one training of Model 5.
        limit: the histograms' range is ±limit.
        heads: of each block.
    """
    paths = sorted((run / "qkv").glob("step-*.safetensors"))
    by_step = len(snapshot(paths[0])) * len(PARTS) * (heads + 1)
    kept = np.linspace(0, len(paths) - 1, min(len(paths), max(2, MOST_HISTOGRAMS // by_step)))
    paths = [paths[i] for i in dict.fromkeys(kept.round().astype(int))]
    steps = [int(path.stem.removeprefix("step-")) for path in paths]
    edges = np.linspace(-limit, limit, BINS + 1)
    counts = np.stack([_counts(path, edges, heads) for path in paths])  # (steps, blocks, parts, heads + 1, BINS + 2)
    weights = pd.read_parquet(run / "weights.parquet").astype({"part": str})
    known = weights.set_index(["step", "block", "part", "head"])[["std", "excess_kurtosis"]].to_dict("index")

    def frame(step: int, block: int, part: int, head: int) -> Columns:
        found = counts[step, block, part, head]
        facts = known[steps[step], block, list(PARTS)[part], head - 1]
        return {
            "share": eight_bits(100 * found[1:-1] / found.sum()),
            "beyond": files.significant(100 * (found[0] + found[-1]) / found.sum(), 3),
            "sigma": files.significant(facts["std"], 3),
            "kurtosis": files.significant(facts["excess_kurtosis"], 3),
        }

    chart: Chart = {
        "kind": "histogram", "from": "left", "to": "right", "y": "share", "title": "", "colour": "blue",
        "domain": [-limit, limit], "xlabel": "weight", "ylabel": "% of the weights",
    }  # fmt: skip
    controls = (
        Control("step", "step", [f"{step:,}" for step in steps], len(steps) - 1, slider=True),
        Control("block", "block", [str(block) for block in range(counts.shape[1])]),
        Control("part", "matrix", list(PARTS.values())),
        Control("head", "head", ["all heads", *map(str, range(heads))]),
    )
    about = "Histogram of the weights at the chosen step; a dashed line shows them before training"
    title = "Slide through training; dashed: before the first update"
    shared = {"left": edges[:-1], "right": edges[1:]}
    return Explorer("qkv_histograms", title, controls, frame, (chart,), (about,), shared, reference={"step": 0})


def _counts(path: Path, edges: np.ndarray, heads: int) -> np.ndarray:
    """Histograms of one snapshot's weights by block, part and head (all heads first), with counts beyond the edges.

    Returns:
        (blocks, parts, heads + 1, edges + 1).
    """
    by_head = np.stack([weights.reshape(len(PARTS), heads, -1) for weights in snapshot(path)])  # (…, H, D/H · D)
    places = np.searchsorted(edges, by_head, "right")
    counts = np.apply_along_axis(np.bincount, -1, places, minlength=edges.size + 1)
    return np.concatenate([counts.sum(axis=2, keepdims=True), counts], axis=2)
