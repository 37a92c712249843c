"""Which tensors are norms, and where each sits, by their names.

A name is a path, then `weight` or `bias` (`gamma` or `beta` in old BERT files). The path's first number is the block;
what stands before it tells stacks of blocks apart ("decoder", "vision"), what follows is the norm's name in the block.
The same name can mean another place in another model: Llama's `post_attention_layernorm` is the input of the MLP,
Gemma 2's the output of attention. The norms beside it tell them apart, and config.json, by `conventions`. One rule
covers all models; a norm whose name tells no place keeps its name in place of it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from goldilocks.checkpoints import conventions
from goldilocks.checkpoints.paths import Path, split, without_constants

# torch.compile, DistributedDataParallel, Lightning, FSDP and activation checkpointing add these, at any depth.
TRANSPARENT = re.compile(
    r"(?<![^.])(?:_orig_mod|module|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
COMMON = {"model", "transformer", "layers", "layer", "blocks", "block", "h"}
"""Parts of names that say nothing about what is in a stack of blocks."""

FINAL = -1  # in place of a block's index: after the last block
BEFORE = -2  # before the first: norms of embeddings
GAMMA, BETA = "gamma", "beta"
KINDS = {"weight": GAMMA, "gamma": GAMMA, "bias": BETA, "beta": BETA}

# Sublayers of a block. A norm is at the "input" of one, before it reads, or at its "output", after it wrote.
ATTENTION, CROSS, MLP, MIXER = "attention", "cross-attention", "mlp", "mixer"  # a mixer mixes tokens, like Mamba
INPUT, OUTPUT = "input", "output"
QUERY, KEY, VALUE = "query", "key", "value"
FINAL_NORM, EMBEDDING, RELATIVE, HEAD = "final", "embedding", "relative position embedding", "head"
ORDER = (
    f"{ATTENTION} {INPUT}", f"{ATTENTION} and", f"{MIXER} {INPUT}", QUERY, KEY, VALUE, f"{ATTENTION} {OUTPUT}",
    f"{MIXER} {OUTPUT}", f"{CROSS} ", f"{MLP} ",
)  # fmt: skip
"""The order of places in a block, by how they begin."""


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.VERBOSE)


LIKE_A_NORM = _pattern(r"norm | (^|[._]) ln ([._0-9]|$)")
NO_LAYERNORM = _pattern(r"conv_layers | batch_?norm | group_?norm | (^|_)bn\d*$")
SUBLAYERS = {
    CROSS: _pattern(r"cross | encoder_?att | enc_?dec"),
    MIXER: _pattern(r"mamba | ^a_log$ | ^conv$ | mlstm | linear_att | rg_lru"),
    ATTENTION: _pattern(r"att | ^sa_ | ^(q|k|v|qkv|query|key|value)_proj"),
    MLP: _pattern(r"mlp | (^|_)ffn?(\d|_|$) | feed_?forward | intermediate | expert | moe | ^fc | channel"),
}
"""What a sublayer is, by a part of a name in it; the first that matches."""

NORM = r"(layer_?|rms_?)?norm"
OF_HEADS = {
    QUERY: _pattern(rf"(q|query)_?{NORM} | norm_(q|query) | ln_q"),
    KEY: _pattern(rf"(k|key)_?{NORM} | norm_(k|key) | ln_k"),
    VALUE: _pattern(rf"(v|value)_?{NORM} | norm_v"),
    "query, compressed": _pattern(rf"q_a_{NORM}"),
    "key and value, compressed": _pattern(rf"kv_(a_)?{NORM}"),
}
OF_SUBLAYERS = {
    ATTENTION: _pattern(rf"(input|temporal_pre|operator)_?{NORM} | {NORM}_?1 | ln_?1 | {NORM}_before | pre_{NORM}"),
    CROSS: _pattern(rf"{NORM}15"),
    MLP: _pattern(rf"{NORM}_?[23] | ln_?[23] | {NORM}_after | (final|full_layer|output)_?{NORM}"),
}
"""What a norm is by its own name; where none matches, `SUBLAYERS` tell it."""

PLAIN = _pattern(rf"{NORM}|ln")
TELLS_PRE_NORM = _pattern(r"^(pre|input)_ | _before$ | ^intermediate\.")
OF_EMBEDDINGS = _pattern(rf"emb | patch(?!_merger) | feature_projection | ^pre_ | ^({NORM}|ln)_pre$")
OF_A_HEAD = _pattern(r"^cls$ | head | predict | pooler | classif | (?<!feature_)project | vocab")
LAST_ONES = _pattern(rf"(final_|last_|post_|out_?|output_)?({NORM}|ln)(_?f|_out|_post|_final)?")


class Norm(NamedTuple):
    """A norm's parameter: index of the block (-1 after the last, -2 before the first), place, gamma or beta."""

    block: int
    place: str
    kind: str


class Choice(NamedTuple):
    """A checkpoint's norms by tensor name in model order, and how it stores γ."""

    family: str
    norms: dict[str, Norm]
    stored_less_1: set[str]
    """The γ to which the model adds 1 before it multiplies with them."""

    unknown: str
    """Why it is not known whether γ is stored less 1; empty if it is known."""

    note: str
    """What the user should know of this; empty if nothing."""


def _first(patterns: Mapping[str, re.Pattern[str]], name: str) -> str:
    return next((found for found, pattern in patterns.items() if pattern.fullmatch(name)), "")


@lru_cache(4096)
def sublayer(part: str) -> str:
    """The sublayer that a part of a name tells of, empty if it tells of none."""
    return next((found for found, pattern in SUBLAYERS.items() if pattern.search(part)), "")


def labels(stacks: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, str]]:
    """A label for each stack ("decoder", "vision"), and the first part of its name that tells it from others."""
    shared = COMMON.union(set.intersection(*map(set, stacks)) if stacks else ())
    apart = {stack: [part for part in stack if part not in shared] for stack in stacks}
    firsts = Counter(part for parts in apart.values() for part in parts[:1])
    by_stack = {}
    for stack, parts in apart.items():
        first = "".join(parts[:1])
        chosen = parts[:1] if firsts[first] == 1 else parts
        text = " ".join(re.sub(r"_(?:model|tower)$", "", part).replace("_", " ") for part in chosen)
        by_stack[stack] = text, first
    return by_stack


class Stack:
    """What is known of a stack of blocks: the names of norms in them, which sublayers each has, pre-norm or post-norm.

    Args:
        norms: the names, of all blocks together.
        sublayers: by block; empty where no tensor tells.
        post: whether it normalises what a sublayer and the residual stream add up to.
    """

    def __init__(self, norms: set[str], sublayers: Mapping[int, set[str]], post: bool) -> None:
        self.norms, self.sublayers = norms, sublayers
        self.side = OUTPUT if post or self._any(r"output\. | full_layer") else INPUT  # the latter as in BERT

    def _any(self, pattern: str) -> bool:
        return any(map(_pattern(pattern).match, self.norms))

    @cached_property
    def after_attention(self) -> tuple[str, str]:
        """What `post_attention_…` means, by the other norms in a block."""
        if self._any(r"(pre|post)_? (feed_?forward|ff|mlp)") and not self._any("post_self_att"):
            return ATTENTION, OUTPUT
        return CROSS if "final_layernorm" in self.norms else MLP, self.side

    @cached_property
    def only(self) -> str:
        """The norm that all sublayers of a block share; empty if they have several."""
        own = [each for each in self.norms if "." not in each]
        nested = [each.split(".")[-2:] for each in self.norms if "." in each]
        others = any(sublayer(where) in (ATTENTION, MLP) for where, _ in nested)
        return own[0] if len(own) == 1 and not others else ""

    @cached_property
    def last_of_t5(self) -> str:
        return max(each for each in self.norms if each.startswith("layer."))[:7]

    def reader(self, name: str, block: int) -> str:
        """What reads the norm that a block begins with."""
        kinds = self.sublayers.get(block, set())
        mixer = f"{ATTENTION} and {MIXER}" if {ATTENTION, MIXER} <= kinds else MIXER if MIXER in kinds else ATTENTION
        if name != self.only:
            return mixer
        if kinds == {MLP} and PLAIN.fullmatch(name):  # blocks with one sublayer each
            return MLP
        return mixer if kinds and MLP not in kinds else f"{mixer} and {MLP}"


def in_block(path: Path, block: int, stack: Stack) -> str:
    """The place of a norm in a block, from its name there; the name itself if it tells none."""
    words = [part for part in path.rest if not part.isdecimal()]
    name, inside = words[-1], [part for part in words[:-1] if part not in COMMON]
    mixes = any(sublayer(part) == MIXER for part in inside)
    what, side = "", OUTPUT if "output" in inside or name.startswith("post_") else stack.side
    if of_heads := _first(OF_HEADS, name):
        return of_heads
    if re.fullmatch(r"layer\.\d\.\w+", path.name):  # T5
        what = {"layer.0": ATTENTION, stack.last_of_t5: MLP}.get(path.name[:7], CROSS)
        return f"{what} {INPUT}"
    if name.startswith("post_attention_"):
        what, side = stack.after_attention
    elif own := _first(OF_SUBLAYERS, name):
        what = own
    elif PLAIN.fullmatch(name) and inside:
        what = MLP if inside == ["output"] else sublayer(inside[0]) if inside[1:] in ([], ["output"]) else ""
        what = "" if mixes else what
    elif PLAIN.fullmatch(name) and name == stack.only:
        what = ATTENTION if stack.sublayers.get(block) else ""
    elif PLAIN.fullmatch(name):
        what = ATTENTION if "final_layer_norm" in stack.norms else MLP
    elif not inside or name.startswith(("pre_", "post_")):
        what = sublayer(name)
    if not what:
        return path.name
    if what == ATTENTION:
        what = MIXER if mixes else stack.reader(path.name, block)
    before = (path.stack[-1:] or ("",)) + path.rest
    inner = ".".join(f"{word}.{part}" for word, part in pairwise(before) if part.isdecimal())
    return f"{what} {side}" + (f" of {inner}" if inner else "")


def outside(parts: tuple[str, ...], config: Mapping[str, Any]) -> str:
    """The place of a norm outside of blocks, from its name; the name itself if it tells none."""
    if own := conventions.own_place(config, parts):
        return own
    for place, pattern in ((HEAD, OF_A_HEAD), (EMBEDDING, OF_EMBEDDINGS)):
        if any(map(pattern.search, parts)):
            return place
    return FINAL_NORM if LAST_ONES.fullmatch(parts[-1]) else ".".join(parts)


def known_stacks(
    paths: Collection[Path], names: Iterable[str], config: Mapping[str, Any]
) -> dict[tuple[str, ...], Stack]:
    """What is known of each stack of blocks that has norms.

    Args:
        names: of all tensors of the checkpoint.
    """
    norms = defaultdict[tuple[str, ...], set[str]](set)
    for path in paths:
        if path.block is not None:
            norms[path.stack].add(path.name)
    sublayers = {stack: defaultdict[int, set[str]](set) for stack in norms}
    for name in names:
        if (inner := split(name)) and inner.block is not None and inner.stack in norms:
            parts = [part for part in inner.rest if not LIKE_A_NORM.search(part)]
            named = {sublayer(part) for i, part in enumerate(parts) if part != "conv" or i == 0}
            sublayers[inner.stack][inner.block] |= named - {""}
    if len(norms) == 1:
        (by_block,) = sublayers.values()
        for block, kind in enumerate(conventions.layer_types(config)):
            by_block[block] = {sublayer(kind)} - {""} | by_block[block] & {MLP}
    ends = any(path.block is None and outside(path.rest, config) == FINAL_NORM for path in paths)
    return {
        stack: Stack(
            within, sublayers[stack],
            conventions.is_post_norm(config, ends or any(map(TELLS_PRE_NORM.search, within))),
        )
        for stack, within in norms.items()
    }  # fmt: skip


def places(
    paths: Mapping[str, Path], names: Iterable[str], config: Mapping[str, Any]
) -> dict[str, tuple[int, str, str]]:
    """By module: block, label of its stack, place; of two norms of one place the deeper one has its name there."""
    known = known_stacks(paths.values(), names, config)
    of_stacks = labels(known)
    by_part = {part: text for text, part in of_stacks.values() if part}
    same_place = defaultdict[tuple[int, str, str], list[str]](list)
    for module, path in paths.items():
        if path.block is None:
            place = outside(path.rest, config)
            block = BEFORE if place in (EMBEDDING, RELATIVE) else FINAL
            label = next((by_part[part] for part in path.rest if part in by_part and place != path.name), "")
        else:
            block, (label, _) = path.block, of_stacks[path.stack]
            place = in_block(path, block, known[path.stack])
            place = EMBEDDING if path.stack and OF_EMBEDDINGS.search(path.stack[-1]) else place
        same_place[block, label, place].append(module)
    named: dict[tuple[Any, ...], str] = {}
    for modules in same_place.values():
        same = [paths[module] for module in modules]
        alike = len({path.rest for path in same}) < len(same)
        depths = sorted(len(path.rest) for path in same)
        for path in same:
            if depths[1:] and len(path.rest) >= depths[1]:
                named[path.stack, path.rest] = ".".join((*path.stack, *path.rest)) if alike else path.name
    return {
        module: (block, label, named.get((paths[module].stack, paths[module].rest), place))
        for (block, label, place), modules in same_place.items()
        for module in modules
    }


def choose(names: Iterable[str], config: Mapping[str, Any] | None) -> Choice:
    """The norms among tensor names, with what config.json says that decides (None: there is none)."""
    bare = {name: TRANSPARENT.sub("", name).rpartition(".") for name in sorted(names)}
    batch = {module for module, _, kind in bare.values() if kind == "running_mean"}
    modules = dict.fromkeys(module for module, _, kind in bare.values() if kind in KINDS and module not in batch)
    paths = without_constants({module: path for module in modules if (path := _of_a_norm(module))})
    known = places(paths, ("".join(each) for each in bare.values()), config or {})
    norms = []
    for name, (module, _, kind) in bare.items():
        if kind in KINDS and module in known:
            block, label, place = known[module]
            rank = next((i for i, start in enumerate(ORDER) if place.startswith(start)), len(ORDER))
            of_stack = (label.startswith("decoder"), label, block == FINAL, block)
            order = (*of_stack, paths[module].numbers, rank, place, module, KINDS[kind] != GAMMA)
            norms.append((order, name, Norm(block, f"{label} {place}".strip(), KINDS[kind])))
    ordered = {name: norm for _, name, norm in sorted(norms)}
    storage = conventions.of(config, {path.rest[-1] if path.block is None else path.name for path in paths.values()})
    less_1 = {name for name, norm in ordered.items() if norm.kind == GAMMA and storage.less_1(bare[name][0])}
    return Choice(storage.family, ordered, less_1, storage.unknown, storage.note)


def _of_a_norm(module: str) -> Path | None:
    """The path of a module that is named like a norm, and not like one of a convolution."""
    path = split(module)
    own = next((part for part in reversed(path.rest) if not part.isdecimal()), "") if path else ""
    strange = path is None or any(map(NO_LAYERNORM.search, (own, *path.stack)))
    return path if LIKE_A_NORM.search(own) and not strange else None


def like_norms(names: Iterable[str], norms: Collection[str]) -> list[str]:
    """Names that look like a norm's and are not among `norms`."""
    return sorted(name for name in names if name not in norms and LIKE_A_NORM.search(name))
