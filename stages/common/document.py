"""YAML from people, looked at before anything is built from it.

Aliases let a kilobyte stand for gigabytes, and ten thousand brackets fill any stack. The parser's events show both at
once and at no cost. What can't be built, such as the 31st of February, says where it stands.

The parser is the one that DVC uses, so both read a file alike: libyaml's.
"""

from __future__ import annotations

from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import FileMark, MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

LARGEST = 2**15  # bytes of a text, and characters of its values with every alias written out; params.yaml has 7,000
DEEPEST = 32  # collections in each other
UNBUILDABLE = (ValueError, KeyError, TypeError, AttributeError, AssertionError)  # what bad values raise in ruamel.yaml


class _Located(SafeConstructor):
    """Builds plain values, and says where one stands that can't be built."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except UNBUILDABLE as error:
            _refuse(f"a value that can't be ({error})", node.start_mark)


def _refuse(problem: str, mark: FileMark) -> NoReturn:
    raise ConstructorError(None, None, problem, mark)


def _look(text: str, largest: int) -> None:
    """Refuse what would take more than its share of memory or stack."""
    weights: dict[str, int] = {}  # of what has an anchor
    opened: list[tuple[str | None, int]] = []  # anchors, and the weight when they began
    weight = 0
    for event in YAML(typ="safe").parse(text):
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
        if weight > largest:
            _refuse(f"values of more than {largest:,} characters, aliases written out", event.start_mark)


def _with_text(error: MarkedYAMLError, text: str) -> MarkedYAMLError:
    """The error, so that it shows the lines that it speaks of: libyaml's marks only count them."""
    for name in ("context_mark", "problem_mark"):
        if mark := getattr(error, name):
            setattr(error, name, StringMark(mark.name, mark.index, mark.line, mark.column, text, mark.index))
    return error


def load(text: str, largest: int = LARGEST) -> Any:
    """The plain values that a YAML text stands for.

    Args:
        largest: characters that its values may have, with every alias written out.

    Raises:
        YAMLError: if it is not YAML, repeats a key, or is too large or too deep.
    """
    yaml = YAML(typ="safe")
    yaml.Constructor = _Located
    try:
        _look(text, largest)
        return yaml.load(text)
    except MarkedYAMLError as error:
        raise _with_text(error, text) from None
    except UNBUILDABLE as error:  # somewhere
        raise YAMLError(f"a value that can't be ({str(error) or type(error).__name__})") from None
