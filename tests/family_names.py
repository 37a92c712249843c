"""How every family names its norms: what the rules must find, written down apart from them."""

from __future__ import annotations

IN, OUT, MLP, MLP_OUT = "attention input", "attention output", "mlp input", "mlp output"


def numbered(template, blocks=(0, 1, 10)):
    """Places by name, `N` replaced by each block's index."""
    found = {}
    for name, (block, place) in template.items():
        for index in blocks if "N" in name.split(".") else (None,):
            found[name.replace(".N.", f".{index}.")] = (block if index is None else index, place)
    return found


# Family: model_type, whether there is a β, its norms (block and place), other 1-D tensors that are no norms.
CASES = {
    "GPT-2": (
        "gpt2", True,
        {"transformer.h.N.ln_1": (0, IN), "transformer.h.N.ln_2": (0, MLP), "transformer.ln_f": (-1, "final")},
        ["transformer.h.0.attn.c_attn.bias", "transformer.h.0.mlp.c_fc.bias"],
    ),
    "GPT-J": (
        "gptj", True,
        {"transformer.h.N.ln_1": (0, "attention and mlp input"), "transformer.ln_f": (-1, "final")},
        ["transformer.h.0.mlp.fc_in.bias", "lm_head.bias"],
    ),
    "GPT-NeoX": (
        "gpt_neox", True,
        {
            "gpt_neox.layers.N.input_layernorm": (0, IN), "gpt_neox.layers.N.post_attention_layernorm": (0, MLP),
            "gpt_neox.final_layer_norm": (-1, "final"),
        },
        ["gpt_neox.layers.0.attention.query_key_value.bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"],
    ),
    "OPT": (
        "opt", True,
        {
            "model.decoder.layers.N.self_attn_layer_norm": (0, IN), "model.decoder.layers.N.final_layer_norm": (0, MLP),
            "model.decoder.final_layer_norm": (-1, "final"),
        },
        ["model.decoder.layers.0.fc1.bias"],
    ),
    "OPT-350M": (
        "opt", True,
        {"decoder.layers.N.self_attn_layer_norm": (0, OUT), "decoder.layers.N.final_layer_norm": (0, MLP_OUT)},
        ["decoder.layers.0.self_attn.q_proj.bias"],
    ),
    "Bloom": (
        "bloom", True,
        {
            "transformer.word_embeddings_layernorm": (-2, "embedding"), "transformer.h.N.input_layernorm": (0, IN),
            "transformer.h.N.post_attention_layernorm": (0, MLP), "transformer.ln_f": (-1, "final"),
        },
        ["transformer.h.0.mlp.dense_h_to_4h.bias"],
    ),
    "BERT": (
        "bert", True,
        {
            "bert.embeddings.LayerNorm": (-2, "embedding"), "bert.encoder.layer.N.attention.output.LayerNorm": (0, OUT),
            "bert.encoder.layer.N.output.LayerNorm": (0, MLP_OUT), "cls.predictions.transform.LayerNorm": (-1, "head"),
        },
        ["bert.pooler.dense.bias", "cls.predictions.bias"],
    ),
    "ALBERT": (
        "albert", True,
        {
            "albert.embeddings.LayerNorm": (-2, "embedding"),
            "albert.encoder.albert_layer_groups.N.albert_layers.0.attention.LayerNorm": (0, OUT),
            "albert.encoder.albert_layer_groups.N.albert_layers.0.full_layer_layer_norm": (0, MLP_OUT),
            "predictions.LayerNorm": (-1, "head"),
        },
        ["albert.pooler.bias", "predictions.bias"],
    ),
    "DistilBERT": (
        "distilbert", True,
        {
            "distilbert.embeddings.LayerNorm": (-2, "embedding"),
            "distilbert.transformer.layer.N.sa_layer_norm": (0, OUT),
            "distilbert.transformer.layer.N.output_layer_norm": (0, MLP_OUT), "vocab_layer_norm": (-1, "head"),
        },
        ["vocab_transform.bias"],
    ),
    "Falcon": (
        "falcon", True,
        {"transformer.h.N.input_layernorm": (0, "attention and mlp input"), "transformer.ln_f": (-1, "final")}, [],
    ),
    "Falcon RW": (
        "falcon", True,
        {
            "transformer.h.N.input_layernorm": (0, IN), "transformer.h.N.post_attention_layernorm": (0, MLP),
            "transformer.ln_f": (-1, "final"),
        },
        ["transformer.h.0.mlp.dense_h_to_4h.bias"],
    ),
    "Falcon 40B": (
        "falcon", True,
        {
            "transformer.h.N.ln_attn": (0, IN), "transformer.h.N.ln_mlp": (0, MLP), "transformer.ln_f": (-1, "final"),
        },
        [],
    ),
    "Llama": (
        "llama", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        ["model.layers.0.self_attn.rotary_emb.inv_freq"],
    ),
    "Qwen 3": (
        "qwen3", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.self_attn.q_norm": (0, "query"),
            "model.layers.N.self_attn.k_norm": (0, "key"), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 1": (
        "gemma", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, MLP),
            "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 2": (
        "gemma2", False,
        {
            "model.layers.N.input_layernorm": (0, IN), "model.layers.N.post_attention_layernorm": (0, OUT),
            "model.layers.N.pre_feedforward_layernorm": (0, MLP),
            "model.layers.N.post_feedforward_layernorm": (0, MLP_OUT), "model.norm": (-1, "final"),
        },
        [],
    ),
    "Gemma 3": (
        "gemma3", False,
        {
            "language_model.model.layers.N.input_layernorm": (0, IN),
            "language_model.model.layers.N.self_attn.q_norm": (0, "query"),
            "language_model.model.layers.N.self_attn.k_norm": (0, "key"),
            "language_model.model.layers.N.post_attention_layernorm": (0, OUT),
            "language_model.model.layers.N.pre_feedforward_layernorm": (0, MLP),
            "language_model.model.layers.N.post_feedforward_layernorm": (0, MLP_OUT),
            "language_model.model.norm": (-1, "final"),
        },
        [],
    ),
    "T5": (
        "t5", False,
        {
            "encoder.block.N.layer.0.layer_norm": (0, "encoder attention input"),
            "encoder.block.N.layer.1.layer_norm": (0, "encoder mlp input"),
            "encoder.final_layer_norm": (-1, "encoder final"),
            "decoder.block.N.layer.0.layer_norm": (0, "decoder attention input"),
            "decoder.block.N.layer.1.layer_norm": (0, "decoder cross-attention input"),
            "decoder.block.N.layer.2.layer_norm": (0, "decoder mlp input"),
            "decoder.final_layer_norm": (-1, "decoder final"),
        },
        [],
    ),
}  # fmt: skip
OFFSETS = {"Gemma 1", "Gemma 2", "Gemma 3"}

# What members of BERT's family name in their own way, as transformers' models do.
BERTS = {
    "roberta": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "xlm-roberta": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "camembert": ("roberta", "attention.output", {"lm_head.layer_norm": (-1, "head")}),
    "electra": ("electra", "attention.output", {"generator_predictions.LayerNorm": (-1, "head")}),
    "mpnet": ("mpnet", "attention", {"lm_head.layer_norm": (-1, "head")}),
    "deberta": ("deberta", "attention.output", {"cls.predictions.transform.LayerNorm": (-1, "head")}),
    "deberta-v2": (
        "deberta", "attention.output",
        {
            "deberta.encoder.LayerNorm": (-2, "relative position embedding"),
            "lm_predictions.lm_head.LayerNorm": (-1, "head"),
        },
    ),
}  # fmt: skip
