"""Tiny random models of transformers, for the tests of looks at anyone's model."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

SIZES = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
SEQ2SEQ = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.3,
}  # fmt: skip
EXPERTS = {"num_local_experts": 2, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 2, "num_key_value_heads": 4,
}  # fmt: skip
RELATIVE = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}

ARCHITECTURES = {
    "gpt2": {}, "gpt_bigcode": {}, "gpt_neox": {}, "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32}, "biogpt": {},
    "llama": GROUPED, "mistral": GROUPED | {"sliding_window": 4}, "mixtral": GROUPED | EXPERTS, "qwen2": GROUPED,
    "qwen2_moe": GROUPED | EXPERTS, "qwen3": GROUPED, "gemma": GROUPED,
    "gemma2": GROUPED | {"sliding_window": 4, "attn_logit_softcapping": 2.0},
    "gemma3_text": GROUPED | {"sliding_window": 4},
    "phi": {}, "phi3": GROUPED, "olmo": GROUPED, "olmo2": GROUPED, "stablelm": GROUPED, "starcoder2": GROUPED,
    "cohere": GROUPED, "cohere2": GROUPED | {"sliding_window": 4}, "granite": GROUPED, "glm": GROUPED, "glm4": GROUPED,
    "nemotron": GROUPED, "smollm3": GROUPED, "helium": GROUPED, "gpt_oss": GROUPED | EXPERTS | {"sliding_window": 4},
    "deepseek_v3": LATENT,
    "bert": {}, "roberta": {}, "electra": {"embedding_size": 32}, "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "modernbert": {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
    "bart": SEQ2SEQ, "mbart": SEQ2SEQ, "pegasus": SEQ2SEQ, "m2m_100": SEQ2SEQ, "t5": RELATIVE,
}  # fmt: skip
"""Tiny configurations by `model_type`: decoders, encoders, both; grouped keys, windows, caps, sinks, biases."""

WITHOUT = {
    "mamba": ({"state_size": 4, "time_step_rank": 4}, "has no softmax attention"),
    "rwkv": ({"attention_hidden_size": 32, "context_length": 64}, "has no softmax attention"),
    "bloom": ({"n_layer": 2, "n_head": 4}, "none of its attention goes through transformers' attention interface"),
    "vit": ({"image_size": 8, "patch_size": 4}, "takes pixel_values, no text"),
}


def tiny(model_type, own):
    """A small random model, the same every time."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **SIZES | own)
    return transformers.AutoModel.from_config(config).eval()


def ids(batch=2, length=12):
    return torch.randint(3, 64, (batch, length), generator=torch.Generator().manual_seed(1))
