"""Apply a preset and single values to `params.yaml`, keeping its comments.

Nothing else changes: `git diff` and `dvc params diff` show the edit, `git checkout params.yaml` takes it back. If the
result would not be valid, nothing is written.

example: goldilocks configure --preset smoke run.seeds=[0] train.learning_rate=3.0e-4
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

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


def with_quotes(value: Any) -> Any:
    """A list with addresses in quotes, as the file has to have them."""
    if not isinstance(value, list):
        return value
    return [DoubleQuotedScalarString(entry) if isinstance(entry, str) and ":" in entry else entry for entry in value]


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


def assign(tree: Any, name: str, value: Any) -> None:
    """Set one existing entry of a round-trip YAML tree in place, keeping its comment and its list's style.

    Raises:
        UserError: if there is no such entry.
    """
    section, old, place = tree, tree, ""
    for key in name.split("."):
        if not isinstance(old, Mapping) or key not in old:
            allowed = ", ".join(old) if isinstance(old, Mapping) else "nothing"
            raise cli.UserError(f"{name}: no such parameter; {place or 'params.yaml'} has: {allowed}")
        section, old, place = old, old[key], f"{place}.{key}".removeprefix(".")
    if isinstance(old, list) and isinstance(value, list):
        old[:] = with_quotes(value)
    elif old != value or isinstance(old, bool) != isinstance(value, bool):
        section[key] = value


def close_up_comments(tree: Any) -> None:
    """Let every comment at the end of a line follow its value by one space, as the file is written.

    ruamel.yaml keeps a comment's column otherwise, and an edit that is taken back would leave its traces.
    """
    for tokens in tree.ca.items.values():
        if len(tokens) > 2 and tokens[2] is not None and not tokens[2].value.startswith("\n"):
            tokens[2].start_mark.column = 0
    for value in tree.values() if isinstance(tree, Mapping) else tree:
        if hasattr(value, "ca"):
            close_up_comments(value)


def edited(text: str, changes: Mapping[str, Any]) -> str:
    """The YAML text with values changed by name, everything else as it was."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    tree = yaml.load(text)
    for name, value in changes.items():
        assign(tree, name, value)
    close_up_comments(tree)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


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
    parser.add_argument("--set", default="", metavar="WORDS", help="more assignments, all in one text")
    parser.add_argument("assignment", nargs="*", help="section.key=value; the value is YAML")
    arguments = parser.parse_args()
    apply(arguments.preset, [*arguments.assignment, *split_args(arguments.set)])


if __name__ == "__main__":
    cli.run(main)
