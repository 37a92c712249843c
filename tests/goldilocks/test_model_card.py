from goldilocks.config.train import Settings
from goldilocks.core import params
from goldilocks.model5.model import Shape
from goldilocks.model5.model_card import model_card


def test_the_card_has_the_sizes_and_losses():
    settings = Settings.model_validate(params.read()["train"])
    shape = Shape(vocabulary=4096, context_length=64, width=128, heads=4, blocks=6)
    card = model_card(3, shape, settings, {"train": 90_000, "test": 10_000}, {"last test": 5.7358, "bigram": 3.7366})
    front, _, body = card.removeprefix("---\n").partition("---\n")
    assert "license: mit" in front and body.startswith("\n# Model 5, seed 3\n")
    for row in (
        "| blocks, width, heads | 6, 128, 4 |",
        f"| parameters | {shape.parameters:,}, embedding and head counted once |",
        "| training text | 90,000 tokens; tested on 10,000 others |",
        f"| training | {settings.steps} updates of {settings.batch_size} windows, AdamW at 0.003 |",
        "| loss, last test | 5.736 |\n| loss, bigram | 3.737 |\n\n",
    ):
        assert row in body
