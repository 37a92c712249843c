"""Model 5's initial weights, and checks of them. (claims W1-W4)

`model.apply(fn)` visits the token embedding first and the head, which is the same tensor, last. So the head's N(0, std)
overwrites the embedding's Xavier values: only the position embedding keeps Xavier's √(2/(T + D))
(Glorot & Bengio 2010, equation 12, in its normal form).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from goldilocks.model5.model import Model5, Variant

NONE: Mapping[str, float] = MappingProxyType({})


@torch.no_grad()
def initialise(model: Model5, linear_std: float, seed: int, factors: Mapping[str, float] = NONE) -> None:
    """Linear weights N(0, linear_std²), Linear biases 0, embeddings Xavier-normal; LayerNorms stay 1 and 0.

    Args:
        factors: multipliers of the weights of some parts, applied afterwards: `blocks`, `qk` (the rows of their QKV
            weights that make queries and keys), or `embedding` (of tokens).
    """
    generator = torch.Generator().manual_seed(seed)

    def fn(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, linear_std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.xavier_normal_(module.weight, generator=generator)

    model.apply(fn)
    linears = [module for block in model.blocks for module in block.modules() if isinstance(module, nn.Linear)]
    parts = {
        "blocks": [linear.weight for linear in linears],
        "qk": [block.attn.qkv.weight[: 2 * model.shape.width] for block in model.blocks],
        "embedding": [model.wte.weight],
    }
    for part, factor in factors.items():
        for weight in parts[part]:
            weight *= factor


class Check(NamedTuple):
    """A measured quantity beside its exact value under the initialisation; the tolerance is four standard errors."""

    claim: str
    quantity: str
    measured: float
    expected: float
    tolerance: float
    n: int


def _std_check(claim: str, quantity: str, weight: Tensor, expected: float) -> Check:
    n = weight.numel()
    return Check(claim, quantity, float(weight.detach().double().std()), expected, 4 * expected / math.sqrt(2 * n), n)


def checks(model: Model5, linear_std: float, seed: int) -> Iterator[Check]:
    """The article's checks after initialisation, for every tensor of the kind and for an untied embedding.

    The standard error of a standard deviation over n normal values is σ/√(2n).
    """
    biases = [m.bias for m in model.modules() if isinstance(m, nn.Linear) and m.bias is not None]
    largest = max(float(bias.detach().abs().max()) for bias in biases)
    yield Check("W1", "largest |bias| of all Linear layers", largest, 0.0, 0.0, sum(b.numel() for b in biases))
    for i, block in enumerate(model.blocks):
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear):
                yield _std_check("W2", f"std of blocks.{i}.{name}.weight", module.weight, linear_std)
    shape = model.shape
    xavier = math.sqrt(2 / (shape.context_length + shape.width))
    yield _std_check("W3", "std of the position embeddings", model.wpe.weight, xavier)
    yield _std_check("W4", "std of the token embeddings", model.wte.weight, linear_std)
    untied = Model5(shape._replace(blocks=0), Variant(tied=False))
    initialise(untied, linear_std, seed)
    xavier = math.sqrt(2 / (shape.vocabulary + shape.width))
    yield _std_check("W4_untied", "std of token embeddings to which no head is tied", untied.wte.weight, xavier)
