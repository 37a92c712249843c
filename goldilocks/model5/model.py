"""Model 5: GPT-2's architecture as the article on weight initialisation builds it.

Pre-LayerNorm blocks with a fused QKV projection, exact GELU, learned positions, and a head that is the token embedding
itself: one parameter, used twice. Logits are divided by √width. Where the exercise wraps the embedding in a second
`nn.Parameter` on the same storage, so that two gradients and two Adam states update one tensor, this ties truly.
A `Variant` changes one of these choices, to measure its effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goldilocks.model5 import products
from goldilocks.model5.loss import linear_cross_entropy

NORM_EPS = 1e-5


class Shape(NamedTuple):
    """The sizes of a Model 5."""

    vocabulary: int
    context_length: int
    width: int
    heads: int
    blocks: int

    @property
    def parameters(self) -> int:
        """Number of parameters; the head is the token embedding and counts once."""
        d = self.width
        return (self.vocabulary + self.context_length + 2) * d + self.blocks * (12 * d**2 + 13 * d)


class Variant(NamedTuple):
    """The choices that can be changed in a Model 5; the defaults are the articles' model."""

    attention_exponent: float = 0.5
    """Attention's logits are q·k / d^exponent, d being the width of a head: 0 is no scaling, 0.5 is 1/√d, 1 is 1/d."""

    attention: bool = True
    """Whether attention adds to the residual stream. If not, it is computed, multiplied by 0, and learns nothing."""

    norm: Literal["layernorm", "rmsnorm"] | None = "layernorm"
    """The normalisation, if any: LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019)."""

    post_norm: bool = False
    """Whether to normalise after residual sums (Vaswani et al. 2017), not before attention and MLP and at the end."""

    qk_norm: bool = False
    """Whether to normalise each query and key, too, over a head's width (Henry et al. 2020)."""

    tied: bool = True
    """Whether the head is the token embedding."""

    head_scaled: bool = True
    """Whether the head's logits are divided by √width."""


class Linear(nn.Linear):
    """x Wᵀ + b, with the matrix products of the arithmetic in use."""

    def forward(self, x: Tensor) -> Tensor:
        return products.linear(x, self.weight, self.bias)


def norm(width: int, variant: Variant) -> nn.LayerNorm:
    """The normalisation over a width that a variant asks for; the identity if it asks for none."""
    kinds = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}
    found = kinds[variant.norm](width, eps=NORM_EPS) if variant.norm else nn.Identity()
    return cast(nn.LayerNorm, found)


class Attention(nn.Module):
    """Causal dot-product attention with a fused QKV projection (Vaswani et al. 2017, equation 1)."""

    def __init__(self, shape: Shape, variant: Variant) -> None:
        super().__init__()
        self.heads = shape.heads
        self.scale: float = (shape.width / shape.heads) ** -variant.attention_exponent  # of the logits
        self.adds = variant.attention
        self.qkv = Linear(shape.width, 3 * shape.width)
        self.output = Linear(shape.width, shape.width)
        self.norms: list[nn.Module] = []  # of queries and of keys
        if variant.qk_norm:
            self.norms = nn.ModuleList(norm(shape.width // shape.heads, variant) for _ in "qk")  # type: ignore[assignment]

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of x (B, T, D), as softmax gets them: (B, T, 3 · D)."""
        qkv: Tensor = self.qkv(x)
        if not self.norms:
            return qkv
        q, k, v = qkv.view(*qkv.shape[:2], 3, self.heads, -1).unbind(2)  # (B, T, H, D / H)
        return torch.stack([self.norms[0](q), self.norms[1](k), v], 2).flatten(2)

    def attend(self, qkv: Tensor) -> Tensor:
        """What attention adds to the residual stream (B, T, D), from the result of `project`."""
        y: Tensor = self.output(products.causal_attention(qkv, self.heads, self.scale))
        return y if self.adds else 0.0 * y

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.project(x))

    def logits(self, qkv: Tensor) -> Tensor:
        """The scaled logits that softmax sees, (B, H, T, T), with -∞ where a token may not look; no gradient."""
        q, k, _ = products.split_heads(qkv, self.heads)
        return products.multiply(q, k.mT) * self.scale + products.hidden(qkv.shape[1]).to(qkv.device)


class MLP(nn.Module):
    """Width → 4 · width → width with exact GELU (Hendrycks & Gimpel 2016)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up = Linear(shape.width, 4 * shape.width)
        self.down = Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(x)))
        return y


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); with norms after the sums norm(x + attention(x)), and so on."""

    def __init__(self, shape: Shape, variant: Variant) -> None:
        super().__init__()
        self.ln_1 = norm(shape.width, variant)
        self.attn = Attention(shape, variant)
        self.ln_2 = norm(shape.width, variant)
        self.mlp = MLP(shape)
        self.post_norm = variant.post_norm
        self.attends = True

    def attention_input(self, x: Tensor) -> Tensor:
        """The input of attention, from the block's input (B, T, D)."""
        seen: Tensor = x if self.post_norm else self.ln_1(x)
        return seen

    def finish(self, x: Tensor, attended: Tensor | float) -> Tensor:
        """The block's output (B, T, D), from its input and attention's output."""
        if self.post_norm:
            x = self.ln_1(x + attended)
            y: Tensor = self.ln_2(x + self.mlp(x))
        else:
            x = x + attended
            y = x + self.mlp(self.ln_2(x))
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(x, self.attn(self.attention_input(x)) if self.attends else 0.0)


class Model5(nn.Module):
    """Model 5. `model.blocks[i].attn.qkv.weight` is the (3 · width, width) matrix the article watches."""

    def __init__(self, shape: Shape, variant: Variant = Variant()) -> None:  # noqa: B008  immutable
        super().__init__()
        self.shape = shape
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.wpe = nn.Embedding(shape.context_length, shape.width)
        # A ModuleList, but torch does not say what is in it.
        self.blocks: list[Block] = nn.ModuleList(Block(shape, variant) for _ in range(shape.blocks))  # type: ignore[assignment]
        self.ln_f = norm(shape.width, variant._replace(norm=None) if variant.post_norm else variant)
        self.head = Linear(shape.width, shape.vocabulary, bias=False)
        self.head_scale = 1 / math.sqrt(shape.width) if variant.head_scaled else 1.0
        if variant.tied:
            self.head.weight = self.wte.weight  # one parameter, one gradient, one Adam state

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T) to the first block's input (B, T, D)."""
        x: Tensor = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        return x

    def states(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T), T at most the context length, to the head's input (B, T, D)."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        normalised: Tensor = self.ln_f(x)
        return normalised

    def logits(self, states: Tensor) -> Tensor:
        """The head's logits of hidden states (…, D): (…, V).

        The division by √width is done on the smaller side of the product: (x/√D)Wᵀ = (xWᵀ)/√D.
        """
        logits: Tensor = self.head(states * self.head_scale)
        return logits

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T) to logits (B, T, V)."""
        return self.logits(self.states(tokens))

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy in nats of predicting each next token in windows (B, T + 1)."""
        states, targets = self.states(windows[:, :-1]), windows[:, 1:]
        return linear_cross_entropy(states.flatten(0, 1), self.head.weight, targets.flatten(), self.head_scale)

    @contextmanager
    def attention_exponent(self, exponent: float | None) -> Iterator[None]:
        """Within the context, divide attention's logits by d^exponent, d a head's width; None deletes attention."""
        own = [block.attn.scale for block in self.blocks]
        for block in self.blocks:
            block.attends = exponent is not None
            block.attn.scale = (self.shape.width / self.shape.heads) ** -(exponent or 0.0)
        try:
            yield
        finally:
            for block, scale in zip(self.blocks, own, strict=True):
                block.attends, block.attn.scale = True, scale
