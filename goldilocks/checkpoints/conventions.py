"""What config.json tells about a model's norms and their names do not: how γ is stored, and where norms sit.

Most models multiply with γ as it is stored. Some store it less 1 and add 1 to it, so that weight decay pulls it to 1.
The sets name the `model_type`s of transformers that were measured (`tests/norm_survey.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from goldilocks.core.cli import plain


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LESS_1 = _names(
    """
gemma gemma2 gemma3 gemma3_text minimax_m3_vl_text nemotron paligemma qwen3_5 qwen3_5_moe qwen3_5_moe_text
qwen3_5_text qwen3_next qwen4_exp recurrent_gemma step3p5 step3p7 t5gemma t5gemma2 vaultgemma
"""
)
"""They store γ less 1, except in the parts that `OTHER_PARTS` names."""

AS_STORED = _names(
    """
albert apertus arcee audio-spectrogram-transformer bamba bart beit bert big_bird bigbird_pegasus biogpt bitnet
blenderbot blip bloom camembert canine clip codegen cohere cohere2 convbert ctrl cvt cwm data2vec-audio data2vec-text
data2vec-vision deberta deberta-v2 decision_transformer deepseek_v2 deepseek_v3 deepseek_v4 deit diffllama dinov2
dinov3_vit distilbert doge dots1 electra ernie ernie4_5 esm exaone4 falcon falcon_h1 falcon_mamba flaubert fnet funnel
gemma3n_text gemma4_text git glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj
granite granitemoe granitemoehybrid helium hubert hunyuan_v1_dense ibert idefics3 ijepa imagegpt internvl_vision jamba
jetmoe kimi_linear layoutlm layoutlmv3 led lfm2 lfm2_moe lilt llama llava longcat_flash longformer longt5 luke m2m_100
mamba mamba2 marian markuplm mbart megatron-bert minicpm3 minimax minimax_m2 mistral mixtral mllama mobilebert
modernbert moonshine moshi mpnet mpt mra mt5 nemotron_h nomic_bert nystromformer olmo2 olmo3 olmo_hybrid olmoe
openai-gpt opt owlvit pegasus persimmon phi phi3 phimoe pixtral prophetnet qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen3
qwen3_moe qwen3_vl RefinedWeb RefinedWebModel rembert roberta roberta-prelayernorm roformer rwkv seed_oss segformer
sew siglip siglip2 smollm3 speech_to_text speecht5 splinter squeezebert stablelm starcoder2 swin switch_transformers
t5 tapas timesformer udop umt5 unispeech videomae vilt visual_bert vit vit_mae vivit wav2vec2 wav2vec2-conformer wavlm
whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod yoso zamba2
"""
)
"""They multiply with γ as it is stored."""

OTHER_PARTS = re.compile(r"vision|visual|audio|linear_attn")
"""Parts with norms of another kind, in models of `LESS_1`: towers for images and sound, and gated norms."""

POST_NORM = _names(
    """
bart data2vec-audio distilbert flaubert funnel led marian nomic_bert openai-gpt prophetnet sew speecht5 xlm xlnet
"""
)
"""They normalise what a sublayer and the residual stream add up to, under names that other models use for its input."""

OWN_PLACES = {
    ("lfm2", ("embedding_norm",)): "final",
    ("lfm2_moe", ("embedding_norm",)): "final",
    ("data2vec-audio", ("encoder", "layer_norm")): "embedding",
    ("sew", ("encoder", "layer_norm")): "embedding",
    ("speecht5", ("wrapped_encoder", "layer_norm")): "embedding",
    ("esm", ("emb_layer_norm_after",)): "final",
    ("bigbird_pegasus", ("layernorm_embedding",)): "final",
    ("deberta", ("encoder", "LayerNorm")): "relative position embedding",
    ("deberta-v2", ("encoder", "LayerNorm")): "relative position embedding",
}
"""Places outside of blocks that a name tells wrongly, by `model_type` and the end of the path."""

PRE_NORM_IF = ("do_layer_norm_before", "do_stable_layer_norm", "pre_norm")
LAYER_TYPES = ("layer_types", "layers_block_type")
GPT2 = "GPT-2"
OF_GPT2 = {"ln_1", "ln_2", "ln_f"}


class Storage(NamedTuple):
    """How a checkpoint stores γ: a name for its kind, which modules store it less 1, why that is not known, a note."""

    family: str
    less_1: Callable[[str], bool]
    unknown: str
    note: str


def of(config: Mapping[str, Any] | None, names: Collection[str]) -> Storage:
    """How γ is stored, by the `model_type`s in config.json; without any, only GPT-2's names of norms tell it."""
    untold = "no config.json" if config is None else "no model_type in config.json"
    config = config or {}
    kind = config.get("model_type", "")
    text = config.get("text_config", {}).get("model_type", kind)
    text = kind if kind and text.startswith(kind) else text  # gemma3_text in gemma3
    if kind == "gpt2":
        return Storage(GPT2, lambda _: False, "", "")
    if not text and OF_GPT2.issuperset(names) and "ln_2" in names:
        return Storage(GPT2, lambda _: False, "", f"{untold}; read by its names, as {GPT2}")
    if text in LESS_1:
        return Storage(kind, lambda module: not OTHER_PARTS.search(module), "", "")
    unknown = "" if text in AS_STORED else f"config.json's model_type {text!r:.60} is in no list" if text else untold
    note = f"{unknown}: places by names, and γ as stored; models like Gemma store it less 1" if unknown else ""
    return Storage(kind or "unknown", lambda _: False, unknown, note)


def own_place(config: Mapping[str, Any], parts: tuple[str, ...]) -> str:
    """The place of a norm outside of blocks whose name tells it wrongly; empty for others."""
    if config.get("do_stable_layer_norm") is False and parts[-2:] == ("encoder", "layer_norm"):
        return "embedding"
    named = (config.get("model_type"), parts[0])
    matching = (place for (of, name), place in OWN_PLACES.items() if of in named and parts[-len(name) :] == name)
    return next(matching, "")


def is_post_norm(config: Mapping[str, Any], looks_like_pre_norm: bool) -> bool:
    """Whether norms follow the sums with the residual stream."""
    for key in PRE_NORM_IF:
        if isinstance(config.get(key), bool):
            return not config[key]
    kind = config.get("model_type")
    return kind in POST_NORM if kind in LESS_1 | AS_STORED else not looks_like_pre_norm


def layer_types(config: Mapping[str, Any]) -> list[str]:
    """What each block mixes tokens with, where config.json says so."""
    return next((config[key] for key in LAYER_TYPES if key in config), [])


def deciding(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The values of config.json that the rules ask for; None if there is no config.json."""
    if config is None:
        return None
    decisive: dict[str, Any] = {key: config[key] for key in PRE_NORM_IF if isinstance(config.get(key), bool)}
    for key in LAYER_TYPES:
        value = config.get(key)
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            decisive[key] = [plain(each) for each in value]
    if isinstance(kind := config.get("model_type"), str):
        decisive["model_type"] = plain(kind)
    if isinstance(text := config.get("text_config"), dict) and (of_text := deciding(text)):
        decisive["text_config"] = of_text
    return dict(sorted(decisive.items()))
