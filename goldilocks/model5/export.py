"""Model 5 as a GPT-2 checkpoint that `transformers.AutoModelForCausalLM.from_pretrained` loads.

GPT-2 does not divide its logits by √width, so the exported head is the token embedding divided by √width, and the two
are declared untied. LayerNorm parameters are exported unchanged. GPT-2 stores projections transposed (`Conv1D`).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from goldilocks.core import arrays, files
from goldilocks.model5.model import NORM_EPS, Model5

RENAMED = {"attn.qkv": "attn.c_attn", "attn.output": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}


def _tensors(model: Model5) -> Iterator[tuple[str, Tensor]]:
    """Model 5's parameters under GPT-2's names and in GPT-2's orientation."""
    yield "transformer.wte.weight", model.wte.weight
    yield "transformer.wpe.weight", model.wpe.weight
    for i, block in enumerate(model.blocks):
        for name, parameter in block.named_parameters():
            module, _, kind = name.rpartition(".")
            transposed = module in RENAMED and kind == "weight"
            yield f"transformer.h.{i}.{RENAMED.get(module, module)}.{kind}", parameter.T if transposed else parameter
    yield "transformer.ln_f.weight", model.ln_f.weight
    yield "transformer.ln_f.bias", model.ln_f.bias
    yield "lm_head.weight", model.head.weight / math.sqrt(model.shape.width)


def gpt2_config(model: Model5) -> dict[str, Any]:
    """The `config.json` that makes transformers build the same model."""
    shape = model.shape
    return {
        "activation_function": "gelu",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "dtype": "float32",
        "embd_pdrop": 0.0,
        "eos_token_id": None,
        "layer_norm_epsilon": NORM_EPS,
        "model_type": "gpt2",
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_layer": shape.blocks,
        "n_positions": shape.context_length,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "vocab_size": shape.vocabulary,
    }


def export(model: Model5, tokenizer: Path, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer's two files to `folder` (made if it is not there)."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "config.json", gpt2_config(model))
    tensors = {name: tensor.detach().float().cpu().numpy() for name, tensor in _tensors(model)}
    arrays.write(folder / "model.safetensors", tensors, {"format": "pt"})
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer / name, folder / name)
