"""Which tensors are norms, by architecture, and where in the block each sits.

The table `FAMILIES` has every family's norms. A name is a prefix, then the family's path, then `weight` or `bias`
(`gamma` or `beta` in old BERT files). The same name can mean another place in another family: Llama's
`post_attention_layernorm` is the input of the MLP, Gemma 2's the output of attention. `model_type` in
config.json decides; without it, the family that matches most names, with the fewest places left empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

FINAL = -1  # in place of a block's index: after the last block
BEFORE = -2  # before the first: norms of embeddings
GAMMA, BETA = "gamma", "beta"
KINDS = {"weight": GAMMA, "gamma": GAMMA, "bias": BETA, "beta": BETA}

# Places in a block. "input": normalised before the sublayer reads it; "output": after it wrote.
ATTENTION_IN, ATTENTION_OUT = "attention input", "attention output"
MLP_IN, MLP_OUT = "mlp input", "mlp output"
BOTH_IN = "attention and mlp input"  # one norm, two sublayers side by side
QUERY, KEY = "query", "key"
FINAL_NORM, EMBEDDING, RELATIVE, HEAD = "final", "embedding", "relative position embedding", "head"

WRAPPERS = r"(?:transformer|model|language_model)\."  # classes that hold a model add these to its names
# torch.compile, DistributedDataParallel, Lightning, FSDP and activation checkpointing add these, at any depth.
TRANSPARENT = re.compile(
    r"(?<![^.])(?:_orig_mod|module|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
INDEX = r"(?P<block>0|[1-9][0-9]{0,3})"
LIKE_A_NORM = re.compile(r"norm|(?:^|[._])ln(?:[._0-9]|$)", re.IGNORECASE)


class Norm(NamedTuple):
    """A norm's parameter: index of the block (-1 after the last, -2 before the first), place, gamma or beta."""

    block: int
    place: str
    kind: str


class Family:
    """How one family of models names its norms.

    Args:
        name: as people call it.
        types: the `model_type`s of config.json that mean it.
        needs: values that config.json must also have.
        prefix: a pattern that may stand before every name, after any of `WRAPPERS`.
        blocks: paths of a block's norms, with `N` for its index, and their places.
        others: paths of norms outside the blocks, and their places.
        offset: what the model adds to a stored γ before it multiplies with it.
    """

    def __init__(
        self,
        name: str,
        types: Iterable[str],
        blocks: Mapping[str, str],
        others: Mapping[str, str],
        needs: Mapping[str, Any] | None = None,
        prefix: str = "",
        offset: float = 0.0,
    ) -> None:
        self.name, self.types, self.needs, self.offset = name, frozenset(types), needs or {}, offset
        self.blocks, self.others, self.prefix = blocks, others, prefix

    @cached_property
    def _rules(self) -> list[tuple[re.Pattern[str], str]]:
        """A pattern for each path, in the order declared, and its place."""
        start, kinds = rf"(?:{WRAPPERS})*(?:{self.prefix})?", "|".join(KINDS)
        return [
            (re.compile(rf"{start}{re.escape(path).replace('N', INDEX, 1)}\.(?P<kind>{kinds})"), place)
            for path, place in self.blocks.items()
        ] + [
            (re.compile(rf"{start}{re.escape(path)}\.(?P<kind>{kinds})"), place)
            for path, place in self.others.items()
        ]  # fmt: skip

    def find(self, names: Iterable[str]) -> dict[str, Norm]:
        """The norms among tensor names, in model order."""
        found = {}
        for name in names:
            bare = TRANSPARENT.sub("", name)
            for rank, (pattern, place) in enumerate(self._rules):
                if match := pattern.fullmatch(bare):
                    index = match.groupdict().get("block")
                    outside = BEFORE if place in (EMBEDDING, RELATIVE) else FINAL
                    norm = Norm(outside if index is None else int(index), place, KINDS[match["kind"]])
                    found[name] = (
                        (place.startswith("decoder"), norm.block == FINAL, norm.block, rank, norm.kind != GAMMA),
                        norm,
                    )
                    break
        return {name: norm for name, (_, norm) in sorted(found.items(), key=lambda item: item[1][0])}

    def unused(self, norms: Iterable[Norm]) -> int:
        """How many of this family's places none of the norms takes."""
        return len({*self.blocks.values(), *self.others.values()} - {norm.place for norm in norms})


_LLAMA = {"layers.N.input_layernorm": ATTENTION_IN, "layers.N.post_attention_layernorm": MLP_IN}
_QUERY_KEY = {"layers.N.self_attn.q_norm": QUERY, "layers.N.self_attn.k_norm": KEY}
_GEMMA_2 = {
    "layers.N.input_layernorm": ATTENTION_IN,
    "layers.N.post_attention_layernorm": ATTENTION_OUT,
    "layers.N.pre_feedforward_layernorm": MLP_IN,
    "layers.N.post_feedforward_layernorm": MLP_OUT,
}
_FALCON = ["falcon", "RefinedWeb", "RefinedWebModel"]

FAMILIES = (
    Family(
        "GPT-2", ["gpt2"],
        blocks={"h.N.ln_1": ATTENTION_IN, "h.N.ln_2": MLP_IN},
        others={"ln_f": FINAL_NORM},
    ),
    Family(
        "GPT-J", ["gptj"],
        blocks={"h.N.ln_1": BOTH_IN},
        others={"ln_f": FINAL_NORM},
    ),
    Family(
        "GPT-NeoX", ["gpt_neox"], prefix=r"gpt_neox\.",
        blocks=_LLAMA,
        others={"final_layer_norm": FINAL_NORM},
    ),
    Family(
        "OPT-350M", ["opt"], needs={"do_layer_norm_before": False},
        blocks={"decoder.layers.N.self_attn_layer_norm": ATTENTION_OUT, "decoder.layers.N.final_layer_norm": MLP_OUT},
        others={},
    ),
    Family(
        "OPT", ["opt"],
        blocks={"decoder.layers.N.self_attn_layer_norm": ATTENTION_IN, "decoder.layers.N.final_layer_norm": MLP_IN},
        others={"decoder.final_layer_norm": FINAL_NORM},
    ),
    Family(
        "Bloom", ["bloom"],
        blocks={"h.N.input_layernorm": ATTENTION_IN, "h.N.post_attention_layernorm": MLP_IN},
        others={"word_embeddings_layernorm": EMBEDDING, "ln_f": FINAL_NORM},
    ),
    Family(
        "BERT", ["bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "deberta", "deberta-v2"],
        prefix=r"(?:bert|roberta|electra|mpnet|deberta)\.",
        blocks={
            "encoder.layer.N.attention.output.LayerNorm": ATTENTION_OUT,
            "encoder.layer.N.attention.LayerNorm": ATTENTION_OUT,
            "encoder.layer.N.output.LayerNorm": MLP_OUT,
        },
        others={
            "embeddings.LayerNorm": EMBEDDING,
            "encoder.LayerNorm": RELATIVE,  # DeBERTa
            "cls.predictions.transform.LayerNorm": HEAD,
            "lm_head.layer_norm": HEAD,  # RoBERTa, MPNet
            "generator_predictions.LayerNorm": HEAD,  # ELECTRA
            "lm_predictions.lm_head.LayerNorm": HEAD,  # DeBERTa
        },
    ),
    Family(
        "ALBERT", ["albert"], prefix=r"albert\.",  # its blocks share a group's parameters, so the index is the group's
        blocks={
            "encoder.albert_layer_groups.N.albert_layers.0.attention.LayerNorm": ATTENTION_OUT,
            "encoder.albert_layer_groups.N.albert_layers.0.full_layer_layer_norm": MLP_OUT,
        },
        others={"embeddings.LayerNorm": EMBEDDING, "predictions.LayerNorm": HEAD},
    ),
    Family(
        "DistilBERT", ["distilbert"], prefix=r"distilbert\.",
        blocks={"transformer.layer.N.sa_layer_norm": ATTENTION_OUT, "transformer.layer.N.output_layer_norm": MLP_OUT},
        others={"embeddings.LayerNorm": EMBEDDING, "vocab_layer_norm": HEAD},
    ),
    Family(
        "Falcon", _FALCON,
        blocks={"h.N.input_layernorm": BOTH_IN},
        others={"ln_f": FINAL_NORM},
    ),
    Family(
        "Falcon RW", _FALCON,
        blocks={"h.N.input_layernorm": ATTENTION_IN, "h.N.post_attention_layernorm": MLP_IN},
        others={"ln_f": FINAL_NORM},
    ),
    Family(
        "Falcon 40B", _FALCON,
        blocks={"h.N.ln_attn": ATTENTION_IN, "h.N.ln_mlp": MLP_IN},
        others={"ln_f": FINAL_NORM},
    ),
    Family(
        "Llama", ["llama", "mistral", "mixtral", "qwen2", "qwen2_moe"],
        blocks=_LLAMA,
        others={"norm": FINAL_NORM},
    ),
    Family(
        "Qwen 3", ["qwen3", "qwen3_moe"],
        blocks=_LLAMA | _QUERY_KEY,
        others={"norm": FINAL_NORM},
    ),
    Family(
        "Gemma 1", ["gemma"], offset=1.0,
        blocks=_LLAMA,
        others={"norm": FINAL_NORM},
    ),
    Family(
        "Gemma 2", ["gemma2"], offset=1.0,
        blocks=_GEMMA_2,
        others={"norm": FINAL_NORM},
    ),
    Family(
        "Gemma 3", ["gemma3", "gemma3_text"], offset=1.0,
        blocks=_GEMMA_2 | _QUERY_KEY,
        others={"norm": FINAL_NORM},
    ),
    Family(
        "T5", ["t5", "mt5", "umt5"],
        blocks={
            "encoder.block.N.layer.0.layer_norm": f"encoder {ATTENTION_IN}",
            "encoder.block.N.layer.1.layer_norm": f"encoder {MLP_IN}",
            "decoder.block.N.layer.0.layer_norm": f"decoder {ATTENTION_IN}",
            "decoder.block.N.layer.1.layer_norm": "decoder cross-attention input",
            "decoder.block.N.layer.2.layer_norm": f"decoder {MLP_IN}",
        },
        others={
            "encoder.final_layer_norm": f"encoder {FINAL_NORM}",
            "decoder.final_layer_norm": f"decoder {FINAL_NORM}",
        },
    ),
)  # fmt: skip


class Choice(NamedTuple):
    """A family, what to add to its stored γ, the norms by tensor name in model order, and what to tell the user."""

    family: Family
    offset: float
    norms: dict[str, Norm]
    notes: list[str]


def choose(names: Iterable[str], config: Mapping[str, Any] | None) -> Choice:
    """The family of a checkpoint with these tensor names and this config.json (None: it has none)."""
    names, notes = list(names), []
    model_type = (config or {}).get("model_type")
    of_type = [family for family in FAMILIES if isinstance(model_type, str) and model_type in family.types]
    of_type = [
        family for family in of_type if all((config or {}).get(key) == value for key, value in family.needs.items())
    ]
    candidates = of_type or [family for family in FAMILIES if not family.needs]
    found = [(family, family.find(names)) for family in candidates]
    family, norms = max(found, key=lambda item: (len(item[1]), -item[0].unused(item[1].values())))
    offset = family.offset if of_type else 0.0
    if norms and not of_type:
        why = "no config.json" if config is None else f"config.json's model_type {model_type!r:.60} is in no rule"
        notes.append(f"{why}; read by its names, as {family.name}")
        if "norm" in family.others:
            notes.append("γ as stored; Gemma 1-3 and others of this naming store it less 1, which config.json tells")
    return Choice(family, offset, norms, notes)


def like_norms(names: Iterable[str], norms: Mapping[str, Norm]) -> list[str]:
    """Names that look like a norm's and are not among `norms`."""
    return sorted(name for name in names if name not in norms and LIKE_A_NORM.search(name))
