"""What numbers do inside a Transformer: the library that the pipeline's stages call, and notebooks can.

With `import goldilocks as g`:

- `g.norms("my-model")`: γ and β of every normalisation layer
- `g.weights(["run/checkpoint-0", "run/checkpoint-500"])`: how Q, K and V move over a training
- `g.attention(model, tokenizer, texts)`: every head, and whether it is in the Goldilocks zone
- `g.Watch(model, every=50, folder="watch")`: both while it trains; `g.TransformersWatch` for transformers' Trainer
"""

import importlib
from typing import Any

_PUBLIC = {
    "TransformersWatch": "goldilocks.models.callback",
    "Watch": "goldilocks.models.watch",
    "attention": "goldilocks.models.attention",
    "norms": "goldilocks.models.norms",
    "weights": "goldilocks.models.weights",
}
"""What is offered here, and where it is; imported when it is asked for, and torch and pandas with it."""

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
