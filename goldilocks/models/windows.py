"""Texts as windows of tokens, and a model run on them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, cast

import torch
from torch import Tensor, nn

from goldilocks.core.cli import UserError
from goldilocks.model5.model import Model5
from goldilocks.models.calls import Call, observed, of_model5

LENGTH = 512  # tokens of a window, unless the model sees fewer
TOGETHER = 8  # windows that run as one batch
LEAST = 2  # tokens; attention has a choice from there on

# Of config.json's `model_type`; others mix such layers with attention, which is then measured.
WITHOUT_SOFTMAX = frozenset({"fnet", "falcon_mamba", "mamba", "mamba2", "recurrent_gemma", "rwkv", "xlstm"})

Text = str | Sequence[int] | Tensor


def window_length(model: nn.Module, tokenizer: Any, length: int | None) -> int:
    """How many tokens a window has: as asked for, or as many as the model sees, up to `LENGTH`."""
    config = getattr(model, "config", None)
    limits = (getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None))
    most = min((limit for limit in limits if isinstance(limit, int) and limit >= LEAST), default=length or LENGTH)
    if length is None:
        return min(LENGTH, most)
    if not LEAST <= length <= most:
        raise UserError(f"windows of {length} tokens: must have {LEAST} or more, and the model sees {most} at once")
    return length


def _cut(ids: list[int], length: int) -> list[list[int]]:
    return [ids[start : start + length] for start in range(0, len(ids), length)]


def token_windows(tokenizer: Any, texts: Iterable[Text], length: int) -> Iterator[list[int]]:
    """Each text's tokens in windows of a length, the last of a text perhaps shorter.

    A text may be given as tokens. With a tokenizer that adds tokens to a text, such as BERT's, each window has them.
    """
    for text in [texts] if isinstance(texts, str) else texts:
        if not isinstance(text, str):
            windows = _cut([int(i) for i in text], length)
        elif tokenizer is None:
            raise UserError("texts of words need a tokenizer; without one, give tokens")
        elif getattr(tokenizer, "is_fast", False):
            windows = tokenizer(text, truncation=True, max_length=length, return_overflowing_tokens=True)["input_ids"]
        else:
            ids, own = tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.num_special_tokens_to_add()
            windows = [tokenizer.build_inputs_with_special_tokens(part) for part in _cut(ids, max(length - own, 1))]
        yield from (window for window in windows if len(window) >= LEAST)


def batches(windows: Iterable[list[int]], together: int = TOGETHER) -> Iterator[Tensor]:
    """Windows of one length that follow each other, as tokens (B, T): so nothing is padded."""
    for _, of_length in groupby(windows, len):
        while batch := list(islice(of_length, together)):
            yield torch.tensor(batch)


def describe_model(model: nn.Module) -> str:
    """A model's class and type, for messages."""
    model_type = getattr(getattr(model, "config", None), "model_type", "")
    return f"{type(model).__name__} ({model_type})" if model_type else type(model).__name__


def read(model: nn.Module, ids: Tensor, note: Callable[[Call], None]) -> None:
    """Let a model read tokens (B, T), and tell `note` each window of its attention.

    The decoder of an encoder reads the same tokens.

    Raises:
        UserError: if the model takes no tokens, or none of its attention can be seen.
    """
    ids = ids.to(next(model.parameters()).device)
    if isinstance(model, Model5):
        for call in of_model5(model, ids):
            note(call)
        return
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "model_type"):
        raise UserError(f"{describe_model(model)}: neither a model of transformers nor Model 5")
    if (takes := getattr(model, "main_input_name", "input_ids")) != "input_ids":
        raise UserError(f"{describe_model(model)}: takes {takes}, no text")
    known = getattr(cast(Any, model).get_input_embeddings(), "num_embeddings", None)
    if known is not None and int(ids.max()) >= known:
        raise UserError(f"{describe_model(model)}: knows {known} tokens, and the text has token {int(ids.max())}")
    arguments: dict[str, Any] = {"input_ids": ids}
    if getattr(config, "is_encoder_decoder", False):
        arguments["decoder_input_ids"] = ids
    if "use_cache" in inspect.signature(model.forward).parameters:
        arguments["use_cache"] = False
    noted = set()

    def remember(call: Call) -> None:
        noted.add(call.module)
        note(call)

    with observed(model, remember):
        model(**arguments)
    if not noted:
        why = "none of its attention goes through transformers' attention interface"
        if config.model_type in WITHOUT_SOFTMAX:
            why = "it has no softmax attention"
        raise UserError(f"{describe_model(model)}: {why}, so there is nothing to measure")


def unwrapped(model: nn.Module) -> nn.Module:
    """The model in what `torch.compile` and DistributedDataParallel make of it."""
    for name in ("_orig_mod", "module"):
        if isinstance(inside := getattr(model, name, None), nn.Module):
            return unwrapped(inside)
    return model
