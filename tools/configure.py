"""Apply a preset and single values to `params.yaml`, keeping its comments.

Nothing else changes: `git diff` and `dvc params diff` show the edit, `git checkout params.yaml` takes it back. If the
result would not be valid, nothing is written.

example: goldilocks configure --preset smoke run.seeds=[0] train.learning_rate=3.0e-4
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from goldilocks.core import cli, files, params
from stages import check

PRESETS = Path("presets")
ADDRESS = re.compile(r"(?<=[\[,])\s*[a-z]+://[^\s,\]\"']+")
"""An address in a list without quotes, where libyaml, which DVC reads with, takes its colon for that of a key."""


def assignments(texts: list[str]) -> Iterator[tuple[str, Any]]:
    """Names and values of `section.key=value` texts; values are YAML.

    Raises:
        UserError: if a text is not of that form.
    """
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not all(name.split(".")):
            raise cli.UserError(f"{text!r}: must be section.key=value, such as run.seeds=[0,1]")
        try:
            yield name, params.parse(ADDRESS.sub(r'"\g<0>"', value))
        except YAMLError as error:
            reason = " ".join(str(error).split())
            raise cli.UserError(f"{text!r}: the value is not YAML (write it without blanks): {reason}") from None


def split_args(text: str) -> list[str]:
    """Split a text at blanks, except inside quotes as in a shell; no other character is special.

    Raises:
        UserError: if a quotation does not end.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise cli.UserError(f"SET={text!r}: {error}") from None


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested mapping with its name, `section.key`; lists count as values."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def find(tree: Node, name: str) -> Node:
    """The value of an entry in a YAML document.

    Raises:
        UserError: if there is no such entry.
    """
    node, place = tree, ""
    for key in name.split("."):
        entries = {known.value: value for known, value in node.value} if isinstance(node, MappingNode) else {}
        if key not in entries:
            raise cli.UserError(
                f"{name}: no such parameter; {place or 'params.yaml'} has: {', '.join(entries) or 'nothing'}"
            )
        node, place = entries[key], f"{place}.{key}".removeprefix(".")
    if isinstance(node, MappingNode):
        raise cli.UserError(
            f"{name}: a section, not a parameter; it has: {', '.join(key.value for key, _ in node.value)}"
        )
    return node


def span(node: Node) -> tuple[int, int]:
    """Where a value begins and ends in the text, without a comment after it."""
    last = node
    while isinstance(last, SequenceNode) and not last.flow_style:  # entries under each other
        last = last.value[-1]
    return node.start_mark.index, last.end_mark.index


def as_yaml(value: Any, in_list: bool = False) -> str:
    """A value as it is written: a list in brackets, and a text in quotes only if it needs them there."""
    if isinstance(value, list):
        return f"[{', '.join(as_yaml(entry, in_list=True) for entry in value)}]"
    with suppress(YAMLError):
        if isinstance(value, str) and params.parse(f"[{value}]" if in_list else f"- {value}") == [value]:
            return value
    return json.dumps(value, ensure_ascii=False, default=str)


def edited(text: str, changes: Mapping[str, Any]) -> str:
    """The YAML text with values changed by name, everything else as it was."""
    tree, before = YAML(typ="safe", pure=True).compose(text), dict(leaves(params.parse(text)))
    places = [(*span(find(tree, name)), name) for name in changes]
    for start, end, name in sorted(places, reverse=True):
        if as_yaml(changes[name]) != as_yaml(before[name]):
            text = text[:start] + as_yaml(changes[name]) + text[end:]
    return text


def read_preset(name: str) -> dict[str, Any]:
    """The values of a preset by name.

    Raises:
        UserError: if there is no preset of that name.
    """
    path = PRESETS / f"{name}.yaml"
    known = sorted(found.stem for found in PRESETS.glob("*.yaml"))
    if name not in known:
        raise cli.UserError(f"preset {name!r}: no such preset; there are: {', '.join(known)}")
    return dict(leaves(params.read(path)))


def apply(name: str, texts: list[str]) -> None:
    """Apply the preset of that name (empty: none), then `section.key=value` texts, to `params.yaml`.

    Raises:
        UserError: if one can't be applied, or the result would not be sound; nothing is written then.
    """
    changes = (read_preset(name) if name else {}) | dict(assignments(texts))
    params.read()  # reports clearly if the present file can't be read
    if not changes:
        return
    before = params.PARAMS.read_text("utf-8")
    after = edited(before, changes)
    if after == before:
        return
    with files.atomic_file(params.PARAMS) as copy:
        copy.write_text(after, "utf-8")
        try:
            check.validated(copy)
        except cli.UserError as error:
            raise cli.UserError(
                *(line.replace(str(copy), str(params.PARAMS)) for line in error.problems),
                "params.yaml is left as it was",
            ) from None
    print("params.yaml: edited; `git diff params.yaml` shows how")


def main() -> None:
    parser = cli.parser(__doc__, "tools.configure")
    parser.add_argument("--preset", default="", help="name of a file in presets/; empty for none")
    parser.add_argument("assignment", nargs="*", help="section.key=value; the value is YAML")
    arguments = parser.parse_args()
    apply(arguments.preset, arguments.assignment)


if __name__ == "__main__":
    cli.run(main)
