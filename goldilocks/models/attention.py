"""What softmax does in every head of anyone's model, on texts, and whether it lies in the Goldilocks zone.

The statistics are those of Model 5's table `attention`, by its formulas; rows are weighted evenly. As there, those that
ask which share of the keys does something are of rows that see at least half as many keys as the widest one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from goldilocks.core.cli import UserError
from goldilocks.model5.attention_stats import exponentials, row_statistics, row_variance, shape_of_logits
from goldilocks.models.calls import Call, Rows, evaluating, rows_of
from goldilocks.models.projections import block_of
from goldilocks.models.windows import Text, batches, describe_model, read, token_windows, unwrapped, window_length
from goldilocks.softmax import zone
from goldilocks.softmax.statistics import effective_number, even_jacobian

if TYPE_CHECKING:
    import pandas as pd

NEGLIGIBLE, LEAST_GRADIENT, LEAST_DISCRIMINATION = 1e-6, 0.5, 2.0  # params.yaml's
CHUNK = 2**17  # logits whose statistics are computed at once
UNKNOWN = "unknown"  # where a head lies whose logits are not finite, or that has no two keys to choose from


class HeadSums:
    """Sums over the rows of one module's attention, by head.

    Args:
        negligible: a probability below this counts as 0.
    """

    def __init__(self, heads: int, negligible: float) -> None:
        self.heads, self.negligible = heads, negligible
        self.sums: dict[str, dict[str, np.ndarray]] = {}
        """Of quantities (heads,), by what they are summed over, and `n` of these."""

        self.width = 0
        self.largest = np.zeros(heads)
        self.centre: np.ndarray | None = None
        """Near each head's mean logit: powers taken about it lose no digits."""

    def _add(self, over: str, heads: np.ndarray, n: np.ndarray, **quantities: np.ndarray) -> None:
        sums = self.sums.setdefault(over, {})
        for name, values in ({"n": n} | quantities).items():
            sums[name] = sums.get(name, 0) + np.bincount(heads, values, minlength=self.heads)

    def add(self, call: Call) -> None:
        """Take in all rows of a call."""
        seen = call.visible()
        least = np.maximum(seen.max(-1, keepdims=True) // 2, 2)
        self.width = call.query.shape[-1]
        for rows in rows_of(call):
            if self.centre is None:
                keys = rows.logits[..., : rows.cosines.shape[-1]]
                finite = np.isfinite(keys)
                self.centre = keys.sum((0, 2, 3), np.float64, where=finite) / np.maximum(finite.sum((0, 2, 3)), 1)
            stop = rows.start + rows.logits.shape[2]
            with np.errstate(invalid="ignore", over="ignore"):  # logits that are not finite
                self._add_rows(rows, seen[..., rows.start : stop], least, call)

    def _add_rows(self, rows: Rows, seen: np.ndarray, least: np.ndarray, call: Call) -> None:
        of_rows = seen.shape
        heads = np.broadcast_to(np.arange(self.heads)[:, None], of_rows).ravel()
        position = np.broadcast_to(np.arange(rows.start, rows.start + of_rows[2]), of_rows).ravel()
        late = (seen >= least).ravel()
        logits, cosines = (x.reshape(-1, x.shape[-1]) for x in (rows.logits, rows.cosines))
        flat = seen.ravel()
        at_once = max(CHUNK // logits.shape[1], 1)
        for start in range(0, len(logits), at_once):
            part = slice(start, start + at_once)
            own = position[part] if call.square else None
            self._keys(logits[part, : cosines.shape[1]], cosines[part], heads[part], late[part], own)
            self._softmax(logits[part], heads[part], flat[part], late[part])

    def _keys(
        self, logits: np.ndarray, cosines: np.ndarray, heads: np.ndarray, late: np.ndarray, own: np.ndarray | None
    ) -> None:
        shown = logits > -np.inf
        visible = shown.sum(-1)
        values = np.where(shown, logits, np.float32(0))
        np.maximum.at(self.largest, heads, np.abs(values).max(-1))
        assert self.centre is not None
        x = np.where(shown, values - self.centre[heads][:, None], 0.0)
        square = x * x
        powers = (x.sum(-1), square.sum(-1), np.vecdot(x, square), np.vecdot(square, square))
        self._add("pairs", heads, visible, **{f"power_{i}": power for i, power in enumerate(powers, 1)})
        chosen = late & (visible >= 2)
        visible = visible[chosen]
        cosine = np.where(shown[chosen], cosines[chosen], np.float32(0)).astype(np.float64)
        variances = {"logit": row_variance(x[chosen], visible), "cosine": row_variance(cosine, visible)}
        if own is not None:
            variances["own"] = cosines[chosen, own[chosen]].astype(np.float64)
        self._add("late rows of keys", heads[chosen], np.ones(len(visible)), **variances)

    def _softmax(self, logits: np.ndarray, heads: np.ndarray, seen: np.ndarray, late: np.ndarray) -> None:
        choosing = seen >= 2
        heads, seen, late = heads[choosing], seen[choosing], late[choosing]
        weights, total, entropy = exponentials(logits[choosing])
        of_all = {"normalised_entropy": entropy / np.log(seen), "largest_probability": 1 / total}
        self._add("rows", heads, np.ones(len(heads)), **of_all)
        seen, entropy = seen[late], entropy[late]
        found = row_statistics(weights[late], total[late], entropy, seen, self.negligible)
        found["effective_keys"] = effective_number(entropy)
        found["relative_jacobian"] = found["jacobian_norm"] / even_jacobian(seen)
        self._add("late rows", heads[late], np.ones(len(seen)), keys=seen, **found)

    def columns(self) -> dict[str, np.ndarray]:
        """The statistics of each head."""
        assert self.centre is not None
        with np.errstate(divide="ignore", invalid="ignore"):  # a head that has seen no such row
            pairs, of_keys, rows, late = (
                {name: total / sums["n"] for name, total in sums.items() if name != "n"}
                for sums in (self.sums[over] for over in ("pairs", "late rows of keys", "rows", "late rows"))
            )
            shape = shape_of_logits(*(pairs[f"power_{i}"] for i in (1, 2, 3, 4)))
            shape["logit_mean"] = shape["logit_mean"] + self.centre
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
    negligible: float = NEGLIGIBLE,
    least_gradient: float = LEAST_GRADIENT,
    least_discrimination: float = LEAST_DISCRIMINATION,
) -> pd.DataFrame:
    """The statistics of every head's attention on texts, a row a head; the model and what it computes stay as they are.

    Args:
        model: of transformers, by whose attention interface it attends, or a Model 5.
        texts: one after another, each a string or tokens (then without a tokenizer).
        length: tokens of a window that texts are cut into; by default what the model sees, up to 512.
        windows: how many of them to read at most.
        negligible: a probability below this counts as none.
        least_gradient: of an even row's, in the zone.
        least_discrimination: the largest probability as a multiple of an even row's, in the zone.

    Raises:
        UserError: if the model has no such attention, or there is no text.
    """
    import pandas as pd

    model = unwrapped(model)
    of_module: dict[str, HeadSums] = {}

    def note(call: Call) -> None:
        sums = of_module.setdefault(call.module, HeadSums(call.query.shape[1], negligible))
        sums.add(call)

    chosen = islice(token_windows(tokenizer, texts, window_length(model, tokenizer, length)), windows)
    count = tokens = 0
    with evaluating(model):
        for ids in batches(chosen):
            read(model, ids, note)
            count, tokens = count + len(ids), tokens + ids.numel()
    if not count:
        raise UserError(f"{describe_model(model)}: no text of two tokens or more")
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    parts = []
    for name in sorted(of_module, key=lambda name: order.get(name, 0)):
        columns = of_module[name].columns()
        heads = np.arange(of_module[name].heads)
        part = pd.DataFrame({"module": name, "block": block_of(name), "head": heads} | columns)
        sides = zone.sides(part["relative_gradient"], part["discrimination"], least_gradient, least_discrimination)
        parts.append(part.assign(zone=np.where(part["relative_gradient"].isna(), UNKNOWN, sides)))
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = {
        "windows": count, "tokens": tokens, "negligible": negligible, "least_gradient": least_gradient,
        "least_discrimination": least_discrimination,
    }  # fmt: skip
    return frame
