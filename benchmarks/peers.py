"""What Model 5 is measured against, as a user would write and run it: torch's defaults, nothing of `stages`.

`exercise` is the model of the exercise behind the article on weight initialisation, in eager fp32: causal
`F.scaled_dot_product_attention` (the article's "scaled-dot-product attention"; a softmax written out would be slower),
logits divided by √width after the head, log-softmax and negative log-likelihood of all of them at once, and a head tied
by a second `nn.Parameter` on the embedding's storage, so that two gradients and two Adam states update one tensor.

`transformers` is its GPT2LMHeadModel at the same sizes, with exact GELU as here (its own default approximates it, in
several slower operations), without dropout and without the cache of keys and values, as its Trainer has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.sizes import LAYERNORM_EPS, LEARNING_RATE, LINEAR_STD, WEIGHT_DECAY, Size

Step = Callable[[Tensor], float]


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.output = nn.Linear(size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        merged: Tensor = self.output(y.transpose(1, 2).reshape(b, t, d))
        return merged


class Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(size.width, eps=LAYERNORM_EPS)
        self.attn = Attention(size)
        self.ln_2 = nn.LayerNorm(size.width, eps=LAYERNORM_EPS)
        self.up = nn.Linear(size.width, 4 * size.width)
        self.down = nn.Linear(4 * size.width, size.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        y: Tensor = x + self.down(F.gelu(self.up(self.ln_2(x))))
        return y


class Exercise(nn.Module):
    """Model 5 as the exercise has it; returns log-probabilities (B, T, V)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.wte = nn.Embedding(size.vocabulary, size.width)
        self.wpe = nn.Embedding(size.context_length, size.width)
        self.blocks = nn.Sequential(*(Block(size) for _ in range(size.blocks)))
        self.ln_f = nn.LayerNorm(size.width, eps=LAYERNORM_EPS)
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        self.head.weight = nn.Parameter(self.wte.weight)  # a second parameter on the same storage
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, LINEAR_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.xavier_normal_(module.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.blocks(self.wte(tokens) + self.wpe(places))
        logits = self.head(self.ln_f(x)) / math.sqrt(x.shape[-1])
        return F.log_softmax(logits, dim=-1)


def exercise_loss(model: Exercise, windows: Tensor) -> Tensor:
    """Mean negative log-likelihood of each next token in windows (B, T + 1)."""
    return F.nll_loss(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """As one writes it: neither fused nor foreach."""
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def _step(model: nn.Module, loss: Callable[[Tensor], Tensor]) -> Step:
    updates = optimizer(model)

    def step(windows: Tensor) -> float:
        value = loss(windows)
        value.backward()  # type: ignore[no-untyped-call]
        updates.step()
        updates.zero_grad()
        return float(value.detach())

    return step


def exercise(size: Size) -> Step:
    """A training step of the exercise's model."""
    model = Exercise(size)
    return _step(model, lambda windows: exercise_loss(model, windows))


def transformers(size: Size, precision: str) -> Step:
    """A training step of transformers' GPT-2, which computes its own loss, under autocast if bf16."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=size.vocabulary, n_positions=size.context_length, n_embd=size.width, n_layer=size.blocks,
        n_head=size.heads, activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    model.loss_type = "ForCausalLM"  # the one it takes anyway, with a warning

    def loss(windows: Tensor) -> Tensor:
        tokens = windows[:, :-1]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value: Tensor = model(tokens, labels=tokens).loss
        return value

    return _step(model, loss)
