"""The model card of an exported Model 5: the README.md that model hubs show."""

from __future__ import annotations

from collections.abc import Mapping

from goldilocks.config.train import Settings
from goldilocks.model5.model import Shape

CARD = """\
---
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# Model 5, seed {seed}

A small GPT-2 that was trained from scratch, and briefly, to study how numbers grow inside a Transformer. The text it
writes is of no use.

| | |
|---|---|
| blocks, width, heads | {shape.blocks}, {shape.width}, {shape.heads} |
| context, vocabulary | {shape.context_length} tokens, {shape.vocabulary:,} tokens |
| parameters | {shape.parameters:,}, embedding and head counted once |
| training text | {train_tokens:,} tokens; tested on {test_tokens:,} others |
| training | {settings.steps:,} updates of {settings.batch_size} windows, AdamW at {settings.learning_rate:g} |
{losses}

Losses are cross-entropies in nats/token, test losses on {settings.evaluation_windows} fixed windows. Unigram and bigram
are models that count tokens, on the same windows.

## Use

    AutoModelForCausalLM.from_pretrained(FOLDER)

For measurements of weights and attention, and for teaching. Model 5 divides its logits by √width; here the head is
divided instead, so it is not tied to the embedding.

## Licence

MIT. The training text is not part of the model and has a licence of its own; `provenance.json` of the run names it.
"""


def model_card(
    seed: int, shape: Shape, settings: Settings, tokens: Mapping[str, int], losses: Mapping[str, float]
) -> str:
    """The card as Markdown.

    Args:
        tokens: number of tokens of the parts `train` and `test`.
        losses: in nats/token, by what they are of.
    """
    return CARD.format(
        seed=seed,
        shape=shape,
        settings=settings,
        train_tokens=tokens["train"],
        test_tokens=tokens["test"],
        losses="\n".join(f"| loss, {name} | {loss:.3f} |" for name, loss in losses.items()),
    )
