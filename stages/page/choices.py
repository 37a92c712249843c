"""The interactive chart of the ablations: what each choice of Model 5 is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.common.palette import BLUE
from stages.page.explorer import INK, Columns, Control, Explorer, chart, field, told

OUTCOMES = {
    "last_test_loss": "last test loss (nats/token)",
    "added_loss": "loss less that of the base (nats/token)",
    "cost_of_deletion": "what deleting attention costs (nats/token)",
    "initial_attention_entropy": "attention entropy at the start, of its maximum",
    "final_attention_entropy": "attention entropy at the end, of its maximum",
    "widening": "widening of the QKV weights",
}


def outcomes(conditions: Mapping[str, Any], labels: Mapping[str, str], usual: str) -> Explorer:
    """What each ablation ended with, with its interval over seeds.

    Args:
        conditions: what was found, by condition.
        labels: the conditions' names for people.
        usual: the condition that others are compared with.
    """
    unable = [labels[name] for name, found in conditions.items() if not found["attends"]]
    conditions = {name: found for name, found in conditions.items() if found["attends"]} or conditions
    shown = {name: label for name, label in OUTCOMES.items() if any(name in found for found in conditions.values())}

    def frame(outcome: int) -> Columns:
        name = list(shown)[outcome]
        found = {condition: found[name] for condition, found in conditions.items() if name in found}
        ordered = sorted(found, key=lambda condition: float(found[condition]["value"]))
        return {
            "condition": [labels[condition] for condition in ordered],
            "value": [found[condition]["value"] for condition in ordered],
            "low": [found[condition]["low"] for condition in ordered],
            "high": [found[condition]["high"] for condition in ordered],
        }

    colour = {"condition": {"test": f"datum.condition == '{labels[usual]}'", "value": INK}, "value": BLUE}
    y = field("condition", None, "nominal", sort=None, axis={"grid": False, "labelLimit": 240})
    hover = told(condition="condition", value="mean#", low="from#", high="to#")
    shared = {"color": colour, "tooltip": hover, "y": y}
    spec = chart(
        26 * len(conditions),
        {
            "mark": {"opacity": 0.6, "strokeWidth": 3, "type": "rule"},
            "encoding": {
                **shared,
                "x": field("low", None, axis={"tickCount": 6}, scale={"zero": False}),
                "x2": {"field": "high"},
            },
        },
        {
            "mark": {"filled": True, "opacity": 1, "size": 70, "type": "point"},
            "encoding": {**shared, "x": field("value", None)},
        },
    )
    controls = (Control("outcome", "compare by", list(shown.values())),)
    without = f"; without those not shown to attend: {', '.join(unable)}" if unable else ""
    about = f"What training ended with in each condition, mean and interval over seeds{without}"
    return Explorer("test_loss", "With one choice made otherwise", controls, frame, (spec,), (about,))
