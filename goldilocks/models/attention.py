"""What softmax does in every head of anyone's model, on texts, and whether it lies in the Goldilocks zone.

The statistics are those of Model 5's table `attention`, by its formulas; rows are weighted evenly. As there, those that
ask which share of the keys does something are of rows that see at least half as many keys as the widest one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from goldilocks.core.cli import UserError
from goldilocks.model5.attention_stats import NEGLIGIBLE, exponentials, row_statistics, row_variance, shape_of_logits
from goldilocks.models.calls import Call, Rows, evaluating
from goldilocks.models.projections import block_of
from goldilocks.models.windows import Text, batches, describe_model, read, token_windows, unwrapped, window_length
from goldilocks.softmax import zone
from goldilocks.softmax.statistics import effective_number, even_jacobian

LEAST_GRADIENT, LEAST_DISCRIMINATION = 0.5, 2.0  # params.yaml's, as NEGLIGIBLE
UNKNOWN = "unknown"  # where a head lies whose logits are not finite, or that has no two keys to choose from


class HeadSums:
    """Sums over the rows of one module's attention, by head."""

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self.sums: dict[str, dict[str, np.ndarray]] = {}
        """Of quantities (heads,), by which rows they are summed over, and `n` of these."""

        self.width = 0
        self.largest = np.zeros(heads)
        self.centre: np.ndarray | None = None
        """A logit of each head, (heads, 1, 1): powers taken about it lose fewer digits."""

    def _add(self, over: str, chosen: np.ndarray, **quantities: np.ndarray) -> None:
        """Add quantities of the N rows that are chosen, (heads, rows) of bool; they are (N,) or (heads, rows)."""
        heads, _ = chosen.nonzero()
        sums = self.sums.setdefault(over, {})
        for name, values in ({"n": np.ones(len(heads))} | quantities).items():
            of_chosen = values[chosen] if values.ndim == 2 else values
            sums[name] = sums.get(name, 0) + np.bincount(heads, of_chosen, minlength=self.heads)

    def add(self, call: Call) -> None:
        """Take in all rows of a call."""
        seen = call.visible()
        late = seen >= np.maximum(seen.max(-1, keepdims=True) // 2, 2)
        self.width = call.query.shape[-1]
        for rows in call.rows():
            part = slice(rows.start, rows.start + rows.logits.shape[1])
            with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # logits that are not finite
                self._add_keys(rows, late[:, part], call.query.shape[1] == call.key.shape[1])
                self._add_softmax(rows.logits, seen[:, part], late[:, part])

    def _add_keys(self, rows: Rows, late: np.ndarray, square: bool) -> None:
        """`square` says whether there is a key for each query, so that one of them is at its own position."""
        logits = rows.logits[..., : rows.cosines.shape[-1]]
        shown = logits > -np.inf
        values = np.where(shown, logits, np.float32(0))
        self.largest = np.maximum(self.largest, np.abs(values).max((1, 2)))
        if self.centre is None:
            self.centre = np.nan_to_num(values[:, :1, :1].astype(np.float64), posinf=0.0)
        x = np.where(shown, values - self.centre, 0.0)
        square_x = x * x
        powers = (x.sum(-1), square_x.sum(-1), np.vecdot(x, square_x), np.vecdot(square_x, square_x))
        visible = shown.sum(-1)
        of_all = {f"power_{i}": power for i, power in enumerate(powers, 1)}
        self._add("rows of keys", np.ones_like(late), keys=visible, **of_all)
        cosines = rows.cosines.astype(np.float64)
        variances = {"logit": row_variance(x, visible), "cosine": row_variance(np.where(shown, cosines, 0.0), visible)}
        if square:
            variances["own"] = cosines.diagonal(rows.start, 1, 2)
        self._add("late rows of keys", late & (visible >= 2), **variances)

    def _add_softmax(self, logits: np.ndarray, seen: np.ndarray, late: np.ndarray) -> None:
        choosing = seen >= 2
        late_ones, keys = late[choosing], seen[choosing]
        weights, total, entropy = exponentials(logits[choosing])
        self._add("rows", choosing, normalised_entropy=entropy / np.log(keys), largest_probability=1 / total)
        weights, total, entropy, keys = (of[late_ones] for of in (weights, total, entropy, keys))
        found = row_statistics(weights, total, entropy, keys)
        found["effective_keys"] = effective_number(entropy)
        found["relative_jacobian"] = found["jacobian_norm"] / even_jacobian(keys)
        self._add("late rows", late, keys=keys, **found)

    def columns(self) -> dict[str, np.ndarray]:
        """The statistics of each head."""
        assert self.centre is not None
        with np.errstate(divide="ignore", invalid="ignore"):  # a head that has seen no such row
            of_logits, of_keys, rows, late = (
                {name: total / sums["n"] for name, total in sums.items() if name != "n"}
                for sums in (self.sums[over] for over in ("rows of keys", "late rows of keys", "rows", "late rows"))
            )
            shape = shape_of_logits(*(of_logits[f"power_{i}"] / of_logits["keys"] for i in (1, 2, 3, 4)))
            shape["logit_mean"] = shape["logit_mean"] + self.centre.ravel()
            centred = np.sqrt(of_keys["cosine"])
            return {"rows": self.sums["late rows"]["n"].astype(np.int64)} | late | rows | shape | {
                "logit_std_in_rows": np.sqrt(of_keys["logit"]),
                "largest_logit": self.largest,
                "centred_cosine": centred,
                "centred_alignment": centred * np.sqrt(self.width),
                "own_cosine": of_keys.get("own", np.full(self.heads, np.nan)),
            }  # fmt: skip


def attention(
    model: nn.Module,
    tokenizer: Any = None,
    texts: Iterable[Text] = (),
    *,
    length: int | None = None,
    windows: int | None = None,
) -> pd.DataFrame:
    """The statistics of every head's attention on texts, a row a head; the model and what it computes stay as they are.

    Args:
        model: of transformers, by whose attention interface it attends, or a Model 5.
        texts: one after another, each a string or tokens (then without a tokenizer).
        length: tokens of a window that texts are cut into; by default what the model sees, up to 512.
        windows: how many of them to read at most.

    Raises:
        UserError: if the model has no such attention, or there is no text.
    """
    model = unwrapped(model)
    of_module: dict[str, HeadSums] = {}

    def note(call: Call) -> None:
        of_module.setdefault(call.module, HeadSums(len(call.query))).add(call)

    chosen = islice(token_windows(tokenizer, texts, window_length(model, tokenizer, length)), windows)
    count = tokens = 0
    with evaluating(model):
        for ids in batches(chosen):
            read(model, ids, note)
            count, tokens = count + len(ids), tokens + ids.numel()
    if not count:
        raise UserError(f"{describe_model(model)}: no text of two tokens or more")
    parts = [
        pd.DataFrame({"module": name, "block": block_of(name), "head": np.arange(sums.heads)} | sums.columns())
        for name, sums in of_module.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    gradient = frame["relative_gradient"]
    sides = zone.sides(gradient, frame["discrimination"], LEAST_GRADIENT, LEAST_DISCRIMINATION)
    frame = frame.assign(zone=np.where(gradient.isna(), UNKNOWN, sides))
    frame.attrs = {
        "windows": count, "tokens": tokens, "negligible": NEGLIGIBLE, "least_gradient": LEAST_GRADIENT,
        "least_discrimination": LEAST_DISCRIMINATION,
    }  # fmt: skip
    return frame
