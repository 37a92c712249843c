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

BLOCK = 2**21  # logits in memory at once
ATTENDING = ("eager", "sdpa")  # implementations whose masks are tensors


class Call(NamedTuple):
    """One call of a module's attention: logits are softcap(scaling · q·k) + position_bias, where the mask allows."""

    module: str
    query: Tensor  # (B, H, T, d)
    key: Tensor  # (B, H, K, d), repeated for heads that share one
    scaling: float
    mask: Tensor | None = None  # broadcasts to (B, H, T, K): True where visible, or what is added
    causal: bool = False  # there is no mask, and each query sees the keys up to its own position
    softcap: float | None = None
    position_bias: Tensor | None = None
    sinks: Tensor | None = None  # (H,) further logits of each row, whose probability goes nowhere

    def visible(self) -> np.ndarray:
        """How many logits each row sees, sinks among them: (B, H, T)."""
        length, keys = self.query.shape[2], self.key.shape[2]
        seen = np.minimum(np.arange(1, length + 1), keys) if self.causal else np.full(length, keys)
        if self.mask is not None:
            shown = shown_by(self.mask)
            shown = shown[..., :keys] if shown.shape[-1] > 1 else shown.expand(*shown.shape[:-1], keys)
            seen = shown.sum(-1).cpu().numpy()
        return np.broadcast_to(seen + (self.sinks is not None), (*self.query.shape[:2], length))

    @property
    def square(self) -> bool:
        """Whether there is a key for each query, so that one of them is at its own position."""
        return self.query.shape[2] == self.key.shape[2]


class Rows(NamedTuple):
    """Some of a call's queries with all that they see."""

    logits: np.ndarray  # (B, H, R, K) float32, -∞ where hidden
    cosines: np.ndarray  # (B, H, R, K') float32 of queries and keys; K' = K less the sinks
    start: int  # position of the first of them


def repeat_heads(key: Tensor, heads: int) -> Tensor:
    """Keys (B, G, K, d), each for all the heads that share it: (B, H, K, d)."""
    return key.repeat_interleave(heads // key.shape[1], 1)


def shown_by(mask: Tensor) -> Tensor:
    """Where a mask lets a query see a key; one that is added hides by the least number of its type, or by -∞."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def _cut(tensor: Tensor | None, start: int, stop: int, keys: int) -> Tensor | None:
    """Rows start … stop - 1 and the first keys of what broadcasts to (B, H, T, K)."""
    if tensor is None:
        return None
    rows = tensor if tensor.shape[-2] == 1 else tensor[..., start:stop, :]
    return rows if tensor.shape[-1] == 1 else rows[..., :keys]


def rows_of(call: Call) -> Iterator[Rows]:
    """The logits of a call, so many rows at a time that memory does not grow with the square of the length."""
    q, k = call.query.float(), call.key.float()
    directions = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
    batch, heads, length, _ = q.shape
    at_once = max(BLOCK // (batch * heads * k.shape[2]), 1)
    for start in range(0, length, at_once):
        stop = min(start + at_once, length)
        keys = min(stop, k.shape[2]) if call.causal else k.shape[2]
        logits = q[:, :, start:stop] @ k[:, :, :keys].mT * call.scaling
        cosines = directions[0][:, :, start:stop] @ directions[1][:, :, :keys].mT
        if call.softcap is not None:
            logits = torch.tanh(logits / call.softcap) * call.softcap
        if (bias := _cut(call.position_bias, start, stop, keys)) is not None:
            logits = logits + bias
        if call.causal:
            ahead = torch.arange(keys, device=q.device) > torch.arange(start, stop, device=q.device)[:, None]
            logits = logits.masked_fill(ahead, -torch.inf)
        if (mask := _cut(call.mask, start, stop, keys)) is not None:
            added = 0.0 if mask.dtype == torch.bool else mask.float()
            logits = torch.where(shown_by(mask), logits + added, -torch.inf)
        if call.sinks is not None:
            sinks = call.sinks.detach().float().reshape(-1, heads, 1, 1).expand(batch, -1, stop - start, 1)
            logits = torch.cat([logits, sinks], -1)
        yield Rows(logits.cpu().numpy(), cosines.cpu().numpy(), start)


def describe(name: str, module: nn.Module, eager: bool, arguments: dict[str, Any]) -> Call:
    """A call of a function of transformers' attention interface, by its arguments."""
    query, key, mask = arguments["query"], arguments["key"], arguments["attention_mask"]
    scaling, causal = arguments.get("scaling"), arguments.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    sinks = next((arguments[name] for name in ("s_aux", "sinks") if arguments.get(name) is not None), None)
    sinks = getattr(module, "sinks", None) if sinks is None else sinks
    causal = not eager and mask is None and bool(causal) and query.shape[2] > 1
    key = repeat_heads(key, query.shape[1])
    bias = arguments.get("position_bias")
    if causal and key.shape[2] > query.shape[2]:
        key = key[:, :, : query.shape[2]]  # as transformers' sdpa does
    return Call(
        name, query, key, query.shape[-1] ** -0.5 if scaling is None else float(scaling), mask, causal,
        arguments.get("softcap"), bias, sinks,
    )  # fmt: skip


@contextmanager
def observed(model: nn.Module, note: Callable[[Call], None]) -> Iterator[None]:
    """For a while, tell `note` each call of this model's attention through transformers' attention interface.

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
                note(describe(name, module, attend is default, arguments))
            return attend(module, query, key, value, attention_mask, *rest, **more)

        return noted

    with mock.patch.object(AttentionInterface, "get_interface", get_interface):
        yield


def of_model5(model: Model5, ids: Tensor) -> Iterator[Call]:
    """The calls of Model 5's attention for tokens (B, T)."""
    x = model.embed(ids)
    for i, block in enumerate(model.blocks):
        qkv = block.attn.project(block.attention_input(x))
        q, k, _ = split_heads(qkv, model.shape.heads)
        yield Call(f"blocks.{i}.attn", q, k, block.attn.scale or 0.0, causal=True)
        if i + 1 < len(model.blocks):
            x = block.finish(x, block.attn.attend(qkv))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """For a while, without gradients and without dropout; afterwards each module trains or does not as before."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, before in training:
            module.training = before
