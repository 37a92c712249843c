"""YAML from people, looked at before anything is built from it.

Aliases let a kilobyte stand for gigabytes, and ten thousand brackets fill any stack. The parser's events show both at
once and at no cost. What can't be built, such as the 31st of February, says where it stands.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import StringMark
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

LARGEST = 2**15  # bytes of a text, and characters of its values with every alias written out; params.yaml has 7,000
DEEPEST = 32  # collections in each other


class _Located(SafeConstructor):
    """Builds plain values, and says where one stands that can't be built."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _refuse(f"a value that can't be ({error})", node.start_mark)


def _refuse(problem: str, mark: StringMark) -> NoReturn:
    raise ConstructorError(None, None, problem, mark)


def _look(text: str) -> None:
    """Refuse what would take more than its share of memory or stack."""
    weights: dict[str, int] = {}  # of what has an anchor
    opened: list[tuple[str | None, int]] = []  # anchors, and the weight when they began
    weight = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            opened.append((event.anchor, weight))
            if len(opened) > DEEPEST:
                _refuse(f"more than {DEEPEST} collections in each other", event.start_mark)
        elif isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            weights |= {anchor: weight - before} if anchor else {}
        elif isinstance(event, ScalarEvent):
            weight += 1 + len(event.value)
            weights |= {event.anchor: 1 + len(event.value)} if event.anchor else {}
        elif isinstance(event, AliasEvent):
            if event.anchor in {anchor for anchor, _ in opened}:
                _refuse("a collection that holds itself", event.start_mark)
            weight += weights.get(event.anchor, 0)
        if weight > LARGEST:
            _refuse(f"values of more than {LARGEST:,} characters, aliases written out", event.start_mark)


def load(text: str) -> Any:
    """The plain values that a YAML text stands for.

    Raises:
        YAMLError: if it is not YAML, or too large or too deep with its aliases written out.
    """
    _look(text)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Located
    return yaml.load(text)
