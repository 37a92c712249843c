"""Tiny random models of transformers."""

from __future__ import annotations

import contextlib

import pytest
import torch

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

LARGEST = 20_000_000  # parameters
SIZES = (
    dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "word_embed_proj_dim"), 32)
    | dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner", "hidden_dim"), 64)
    | dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "num_layers", "n_layer", "n_layers"), 2)
    | dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads", "num_heads"), 4)
    | dict.fromkeys(("n_head", "n_heads"), 4)
    | dict.fromkeys(("max_position_embeddings", "n_positions", "max_source_positions", "max_target_positions"), 64)
    | dict.fromkeys(("num_local_experts", "num_experts", "num_key_value_heads", "num_decoder_layers"), 2)
    | {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 8, "d_kv": 8}
    | {"num_experts_per_tok": 1, "moe_intermediate_size": 32, "image_size": 16, "patch_size": 4, "num_mel_bins": 8}
    | {"initializer_range": 0.3, "init_std": 0.3}
    | {"ffn_dim": 64, "state_size": 4, "time_step_rank": 4, "attention_hidden_size": 32, "context_length": 64}
)  # fmt: skip
"""A tiny size, under every name that it has."""

LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 2, "num_key_value_heads": 4,
}  # fmt: skip
LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
HEADS_OF_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_expand": 2}
OWN: dict[str, dict] = {
    "gpt_neo": {"attention_types": [[["global"], 2]]}, "gptj": {"rotary_dim": 4}, "codegen": {"rotary_dim": 4},
    "qwen3_next": LINEAR, "qwen3_5_text": LINEAR, "qwen3_5_moe_text": LINEAR,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1}, "bamba": HEADS_OF_MAMBA | {"attn_layer_indices": [1]},
    "deepseek_v2": LATENT, "deepseek_v3": LATENT, "minicpm3": LATENT, "dots1": LATENT,
    "longcat_flash": LATENT | {"num_layers": 1}, "moonshine": {"decoder_num_hidden_layers": 2},
    "xlnet": {"d_head": 8, "n_head": 4, "d_model": 32, "d_inner": 64, "n_layer": 2}, "mamba2": {"num_heads": 8},
    "granitemoehybrid": HEADS_OF_MAMBA | {"layer_types": ["mamba", "attention"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]}, "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "gemma4_text": {"vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 0, "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0, 0.0], "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 64,
    },
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
    "prophetnet": {"num_encoder_layers": 2, "num_decoder_layers": 2},
    "luke": {"entity_vocab_size": 16, "entity_emb_size": 16}, "segformer": {"image_size": 64},
    "swin": {"depths": [1, 2], "num_heads": [2, 2], "embed_dim": 16, "image_size": 32, "window_size": 4},
    "qwen2_vl": {"vision_config": {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32}},
}  # fmt: skip
"""What an architecture needs beside `SIZES`, or in place of them."""

WINDOW = {"sliding_window": 4}
WINDOWED = ("mistral", "gemma3_text", "cohere2", "gpt_oss")
PLAIN = (
    "gpt2", "gpt_bigcode", "gpt_neox", "opt", "biogpt", "llama", "mixtral", "qwen2", "qwen2_moe", "qwen3", "gemma",
    "phi", "phi3", "olmo", "olmo2", "stablelm", "starcoder2", "cohere", "granite", "glm", "glm4", "nemotron", "smollm3",
    "helium", "bert", "roberta", "electra", "distilbert", "bart", "mbart", "pegasus", "m2m_100", "t5",
)  # fmt: skip
ARCHITECTURES = {name: {} for name in PLAIN} | dict.fromkeys(WINDOWED, WINDOW) | {
    "gemma2": WINDOW | {"attn_logit_softcapping": 2.0}, "albert": {"embedding_size": 16},
    "deepseek_v3": {"head_dim": 4},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
}  # fmt: skip
"""Tiny configurations by `model_type`: decoders, encoders, both; grouped keys, windows, caps, sinks, biases."""

WITHOUT = {
    "mamba": "has no softmax attention",
    "rwkv": "has no softmax attention",
    "bloom": "none of its attention goes through transformers' attention interface",
    "vit": "takes pixel_values, no text",
}


def ids(batch=2, length=12):
    return torch.randint(3, 64, (batch, length), generator=torch.Generator().manual_seed(1))


def tiny(model_type: str, own: dict | None = None) -> torch.nn.Module:
    """A small random model of any architecture, the same every time.

    Raises:
        Exception: whatever transformers has against it.
    """
    own, kind = OWN.get(model_type, {}) | (own or {}), transformers.CONFIG_MAPPING[model_type]
    known = kind().to_dict()
    try:
        config = kind(**{name: size for name, size in SIZES.items() if name in known} | own)
        assert size_of(config) < LARGEST
    except Exception:  # transformers raises anything
        config = kind(**own)
        shrink(config, own)
        assert size_of(config) < LARGEST
    torch.manual_seed(0)
    return transformers.AutoModel.from_config(config).eval()


def shrink(config: transformers.PretrainedConfig, own: dict) -> None:
    """Make a configuration tiny, and those in it, but for what `own` says."""
    for name, size in SIZES.items():
        if name not in own and type(getattr(config, name, None)) is int:
            with contextlib.suppress(Exception):  # one that follows from others
                setattr(config, name, size)
    for part in list(vars(config).values()):
        if isinstance(part, transformers.PretrainedConfig):
            shrink(part, own)


def size_of(config: transformers.PretrainedConfig) -> int:
    """The number of parameters of its model."""
    config.architectures = config.architectures or []
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in transformers.AutoModel.from_config(config).parameters())


@pytest.fixture(scope="module")
def with_tokenizer(tmp_path_factory):
    """The folder of a tiny model with a tokenizer that was trained on a few words, and a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("model")
    words = ["the", "porridge", "was", "too", "hot", "cold", "and", "just", "right"]
    backend = Tokenizer(models.WordLevel({"?": 0} | {word: i for i, word in enumerate(words, 3)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?").save_pretrained(folder)
    tiny("gpt2").save_pretrained(folder)
    (folder / "text.txt").write_text("the porridge was too hot , too cold and just right .\n" * 20, "utf-8")
    return folder
