"""Which tensors of a checkpoint project Q, K and V, and how each head's rows lie in them.

The families differ in three ways: Q, K and V are one tensor or three; one tensor has the rows of all Q, then K, then V,
or head after head its q, k and v, or group after group; and GPT-2 stores it transposed. Where one name means two of
these, config.json decides. Some models gate attention's output: there each head's rows of Q are followed by its gate's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from goldilocks.core.cli import UserError

SEPARATE = (
    ("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("query_proj", "key_proj", "value_proj"),
    ("q_lin", "k_lin", "v_lin"), ("wq", "wk", "wv"), ("q", "k", "v"),
)  # fmt: skip
FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj_weight")
LEAVES = "|".join([*FUSED, *(name for names in SEPARATE for name in names)])
LEAF = re.compile(rf"(?:(?P<module>.*)\.)?(?P<leaf>{LEAVES})(?:\.weight)?")
INTERLEAVED = (
    "gpt_neox", "gpt_neox_japanese", "bloom", "falcon", "RefinedWeb", "RefinedWebModel", "gpt_bigcode", "minimax",
    "persimmon",
)  # fmt: skip
CODEGEN_PARTS = 4  # in which its rows lie, each of the q, then the v, then the k of a quarter of the heads
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads")
WIDTH = ("head_dim", "d_kv", "kv_channels")
GROUPS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")


def block_of(module: str) -> int:
    """The index of a module's block: the first number in its name, -1 without one."""
    return next((int(part) for part in module.split(".") if part.isdecimal()), -1)


class Projection(NamedTuple):
    """What one module projects with: the tensors of Q, K and V, or the one of all three."""

    module: str
    leaf: str
    """What the first of its tensors is called in it."""

    names: tuple[str, ...]

    @property
    def block(self) -> int:
        return block_of(self.module)


class Weight(NamedTuple):
    """The rows of Q, then K, then V, head after head, (rows, width) float32."""

    rows: np.ndarray
    heads: tuple[int, int, int]
    by_head: bool
    """Whether heads are known; else all heads are as wide as divides each part, and only parts mean something."""


def find(names: Iterable[str]) -> list[Projection]:
    """The projections among tensor names, in the order of their modules' blocks."""
    by_module: dict[str, dict[str, str]] = {}
    for name in names:
        if (match := LEAF.fullmatch(name)) and not name.endswith("bias"):
            by_module.setdefault(match["module"] or "", {})[match["leaf"]] = name
    projections = []
    for module, leaves in by_module.items():
        whole = [(leaf,) for leaf in FUSED if "q_attn" not in leaves]
        projections += [
            Projection(module, wanted[0], tuple(leaves[leaf] for leaf in wanted))
            for wanted in (*whole, *SEPARATE)
            if all(leaf in leaves for leaf in wanted)
        ]
    return sorted(projections, key=lambda one: (one.block, one.module))


def _number(config: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    values = (config.get(key) for key in keys)
    return next((value for value in values if type(value) is int and value > 0), None)


def of_module(config: Mapping[str, Any] | None, module: str) -> Mapping[str, Any]:
    """What config.json says of a module: of a model's text part, and of its encoder or decoder."""
    config = config or {}
    for part in ("text_config", "attn_config"):
        config = {**config, **own} if isinstance(own := config.get(part), dict) else config
    side = "decoder" if "decoder" in module.split(".") else "encoder"
    own = config.get(f"{side}_attention_heads")
    return {**config, "num_attention_heads": own} if type(own) is int else config


def _parts(tensors: list[np.ndarray], leaf: str, config: Mapping[str, Any]) -> list[np.ndarray]:
    """The rows of Q, of K and of V."""
    heads, groups, width = (_number(config, keys) for keys in (HEADS, GROUPS, WIDTH))
    if len(tensors) == 3:
        q, k, v = tensors
        if heads and width and len(q) == 2 * heads * width:
            q = q.reshape(heads, 2, width, -1)[:, 0].reshape(heads * width, -1)
        return [q, k, v]
    (whole,) = tensors
    kind = config.get("model_type")
    if leaf == "c_attn" and kind != "gpt_bigcode":  # Conv1D
        whole = whole.T
    times, sizes = 1, (heads, groups, groups) if heads and groups else (1, 1, 1)
    if kind == "codegen":
        times = CODEGEN_PARTS
    elif kind in INTERLEAVED or (leaf == "query_key_value" and kind is None):
        if not heads:
            raise UserError("its heads lie between each other, and no config.json says how many there are")
        if config.get("new_decoder_architecture"):
            times = groups or heads
        elif not config.get("multi_query"):
            times = heads
        sizes = (heads // times, 1, 1)
        if heads % times:
            raise ValueError("groups of unequal size")
    in_turn = whole.reshape(times, -1, whole.shape[1])  # so many times some rows of Q, of K and of V, as the sizes say
    each, rest = divmod(in_turn.shape[1], sum(sizes))
    if rest or not each:
        raise ValueError("nothing left for one of them")
    parts = np.split(in_turn, np.cumsum(sizes)[:2] * each, axis=1)
    q, k, v = (part.reshape(-1, whole.shape[1]) for part in parts)
    return [q, v, k] if kind == "codegen" else [q, k, v]


def arrange(projection: Projection, tensors: list[np.ndarray], config: Mapping[str, Any] | None) -> Weight:
    """The rows of Q, K and V in one order for every family.

    Args:
        tensors: those that the projection names, as they are stored.

    Raises:
        UserError: if they are no matrices of one width, or don't divide into heads as config.json says.
    """
    settings = of_module(config, projection.module)
    where = ", ".join(projection.names)
    if any(tensor.ndim != 2 or not tensor.size for tensor in tensors):
        raise UserError(f"{where}: no matrix")
    try:
        parts = _parts(tensors, projection.leaf, settings)
        rows = np.ascontiguousarray(np.concatenate(parts))
    except ValueError:
        raise UserError(f"{where}: does not divide into Q, K and V as config.json says") from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    sizes, heads = [len(part) for part in parts], _number(settings, HEADS)
    width = _number(settings, WIDTH) or (sizes[0] // heads if heads else 0)
    by_head = width > 0 and not any(size % width for size in sizes)
    q, k, v = (size // (width if by_head else math.gcd(*sizes)) for size in sizes)
    return Weight(rows, (q, k, v), by_head)
