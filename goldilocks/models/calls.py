"""What a model's attention computes its logits from, call by call, without changing what the model does.

transformers hands out the function that attends (`AttentionInterface.get_interface`) at every call: while a model is
observed, it is handed out in a wrapper that notes its arguments. So the model keeps its own implementation, its masks
and its output. Model 5 is asked for its queries and keys directly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from goldilocks.core.cli import UserError
from goldilocks.model5.model import Model5
from goldilocks.model5.products import split_heads

BLOCK = 2**18  # logits whose statistics are computed at once
ATTENDING = ("eager", "sdpa")  # implementations whose masks are tensors


class Rows(NamedTuple):
    """Some of a call's queries with all that they see."""

    logits: np.ndarray  # (H, R, K) float32, -∞ where hidden
    cosines: np.ndarray  # (H, R, K') float32 of queries and keys; K' = K less the sinks
    start: int  # position of the first of them


class Call(NamedTuple):
    """A module's attention in one window: logits are softcap(scaling · q·k) + all that is added, where a key is shown.

    Without `shown` each query sees all keys; if `causal`, those up to its own position.
    """

    module: str
    query: Tensor  # (H, T, d)
    key: Tensor  # (H, K, d), repeated for heads that share one
    scaling: float
    causal: bool
    shown: Tensor | None = None  # (H, T, K) of bool
    added: tuple[Tensor, ...] = ()  # (H, T, K) each
    softcap: float | None = None
    sinks: Tensor | None = None  # (H,) further logits of each row, whose probability goes nowhere

    def visible(self) -> np.ndarray:
        """How many logits each row sees, sinks among them: (H, T)."""
        (heads, length, _), keys = self.query.shape, self.key.shape[1]
        seen = np.minimum(np.arange(1, length + 1), keys) if self.causal else np.full(length, keys)
        if self.shown is not None:
            seen = self.shown.sum(-1).cpu().numpy()
        return np.broadcast_to(seen + (self.sinks is not None), (heads, length))

    def rows(self) -> Iterator[Rows]:
        """The logits, so many rows at a time that memory does not grow with the square of the length."""
        q, k = self.query.float(), self.key.float()
        directions = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        heads, length, _ = q.shape
        at_once = max(BLOCK // (heads * k.shape[1]), 1)
        for start in range(0, length, at_once):
            rows = slice(start, min(start + at_once, length))
            keys = min(rows.stop, k.shape[1]) if self.causal else k.shape[1]
            logits = q[:, rows] @ k[:, :keys].mT * self.scaling
            cosines = directions[0][:, rows] @ directions[1][:, :keys].mT
            if self.softcap is not None:
                logits = torch.tanh(logits / self.softcap) * self.softcap
            for added in self.added:
                logits = logits + added[:, rows, :keys]
            if self.causal:
                logits = logits.masked_fill(torch.ones_like(logits[0], dtype=torch.bool).triu(start + 1), -torch.inf)
            if self.shown is not None:
                logits = logits.where(self.shown[:, rows, :keys], -torch.inf)
            if self.sinks is not None:
                sinks = self.sinks.detach().float().reshape(heads, 1, 1).expand(-1, logits.shape[1], 1)
                logits = torch.cat([logits, sinks], -1)
            yield Rows(logits.cpu().numpy(), cosines.cpu().numpy(), start)


def describe(name: str, module: nn.Module, eager: bool, arguments: dict[str, Any]) -> Iterator[Call]:
    """The windows of a call of a function of transformers' attention interface, by its arguments.

    A mask that is added hides by the least number of its type, or by -∞.
    """
    query, key, mask = arguments["query"], arguments["key"], arguments["attention_mask"]
    scaling, causal = arguments.get("scaling"), arguments.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    sinks = next((arguments[name] for name in ("s_aux", "sinks") if arguments.get(name) is not None), None)
    batch, heads, length, width = query.shape
    causal = not eager and mask is None and bool(causal) and length > 1
    key = key.repeat_interleave(heads // key.shape[1], 1)[:, :, : length if causal else None]  # as transformers' sdpa

    def by_window(of_logits: Tensor | None) -> Tensor | tuple[None, ...]:
        keys = key.shape[2]
        return (None,) * batch if of_logits is None else of_logits[..., :keys].expand(batch, heads, length, keys)

    hides = mask is None or mask.dtype == torch.bool
    shown = by_window(mask if hides else mask > torch.finfo(mask.dtype).min / 2)
    added = zip(by_window(arguments.get("position_bias")), by_window(None if hides else mask), strict=True)
    for q, k, shown_here, added_here in zip(query, key, shown, added, strict=True):
        yield Call(
            name, q, k, width**-0.5 if scaling is None else float(scaling), causal, shown_here,
            tuple(each for each in added_here if each is not None), arguments.get("softcap"),
            getattr(module, "sinks", None) if sinks is None else sinks,
        )  # fmt: skip


@contextmanager
def observed(model: nn.Module, note: Callable[[Call], None]) -> Iterator[None]:
    """For a while, tell `note` each window of this model's attention through transformers' attention interface.

    Raises:
        UserError: at a call whose implementation has no mask that could be read, such as flash attention.
    """
    from transformers import AttentionInterface

    names = {id(module): name for name, module in model.named_modules()}
    hand_out = AttentionInterface.get_interface

    def get_interface(self: Any, implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        attend = hand_out(self, implementation, default)

        @functools.wraps(attend)
        def noted(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *rest: Any, **more: Any
        ) -> Any:
            if (name := names.get(id(module))) is not None:
                if implementation not in ATTENDING or not isinstance(attention_mask, Tensor | None):
                    raise UserError(
                        f"{type(model).__name__}: its attention is computed by {implementation}, which hides its mask; "
                        'load it with attn_implementation="sdpa"'
                    )
                arguments = more | {"query": query, "key": key, "attention_mask": attention_mask}
                if rest:  # the scaling may be given by position
                    arguments["scaling"] = rest[0]
                for call in describe(name, module, attend is default, arguments):
                    note(call)
            return attend(module, query, key, value, attention_mask, *rest, **more)

        return noted

    with mock.patch.object(AttentionInterface, "get_interface", get_interface):
        yield


def of_model5(model: Model5, ids: Tensor) -> Iterator[Call]:
    """The calls of Model 5's attention, window by window, for tokens (B, T)."""
    x = model.embed(ids)
    for i, block in enumerate(model.blocks):
        qkv = block.attn.project(block.attention_input(x))
        q, k, _ = split_heads(qkv, model.shape.heads)
        for query, key in zip(q, k, strict=True):
            yield Call(f"blocks.{i}.attn", query, key, block.attn.scale or 0.0, causal=True)
        if i + 1 < len(model.blocks):
            x = block.finish(x, block.attn.attend(qkv))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """For a while, without gradients and dropout; afterwards modules' modes and random numbers are as they were."""
    training = [(module, module.training) for module in model.modules()]
    gpus = {parameter.device.index for parameter in model.parameters() if parameter.is_cuda}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(gpus):
            yield
    finally:
        for module, before in training:
            module.training = before
