"""The one reader of `params.yaml`: typed, strict sections, and one line for each problem.

Each section is declared in `goldilocks/config/` as a subclass of `Section`, with what its stage needs of the shared
section `run:`; the stage gets exactly that. What a parameter means stands beside it in `params.yaml`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # pydantic would look for some in every package, for 0.05 s

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from goldilocks.core.cli import UserError

PARAMS = Path("params.yaml")
LARGEST = 2**15  # bytes; params.yaml has 7,000
DEEPEST = 32  # collections in each other, since the parser needs stack for each


class Section(BaseModel):
    """A section of `params.yaml`: strict types, no unknown keys, finite numbers, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def power_of_two(value: int) -> int:
    """A validated `value` that must be 1, 2, 4, 8, …."""
    if value & (value - 1):
        raise ValueError("must be a power of two")
    return value


SectionT = TypeVar("SectionT", bound=Section)
RunT = TypeVar("RunT", bound=Section)


def parse(text: str) -> Any:
    """The plain values of a YAML text, read by the parser that DVC uses.

    Raises:
        YAMLError: if it is not YAML, repeats a key, nests too deep, or nests aliases, of which a kilobyte can stand for
            gigabytes.
    """
    try:
        _refuse_bombs(text)
        return YAML(typ="safe").load(text)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:  # such as 31 February
        raise YAMLError(f"a value that can't be ({error})") from None


def _refuse_bombs(text: str) -> None:
    anchors: list[str | None] = []
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, CollectionStartEvent):
            anchors.append(event.anchor)
        elif isinstance(event, CollectionEndEvent):
            anchors.pop()
        elif isinstance(event, AliasEvent) and any(anchors):
            raise YAMLError(f"line {event.start_mark.line + 1}: an alias inside a collection that has an anchor")
        if len(anchors) > DEEPEST:
            raise YAMLError(f"line {event.start_mark.line + 1}: more than {DEEPEST} collections in each other")


def read(path: Path = PARAMS, largest: int = LARGEST) -> dict[str, Any]:
    """The parameter file, or another YAML file of the project, as plain nested dictionaries.

    Args:
        largest: bytes that it may have.

    Raises:
        UserError: if it can't be read, is not YAML, repeats a key, is not a mapping, or is too large.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file")
        if path.stat().st_size > largest:
            raise UserError(f"{path}: more than {largest:,} bytes")
        contents = parse(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run from the project's folder") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(contents, dict):
        raise UserError(f"{path}: must be a mapping of sections, got {_shown(contents)}")
    return contents


def problems(model: type[Section], contents: Any, where: str = "", file: Path = PARAMS) -> list[str]:
    """Problems of `contents` as a `model`, one line each; empty if there are none."""
    try:
        model.model_validate(contents)
    except ValidationError as error:
        return [_line(model, entry, where, file) for entry in error.errors(include_url=False)]
    return []


def load(section: str, settings: type[SectionT], run: type[RunT], path: Path = PARAMS) -> tuple[SectionT, RunT]:
    """The typed settings of one stage and its part of `run:`; the rest of the file is ignored.

    Raises:
        UserError: one line for each problem: the key's path, the value given and what is allowed.
    """
    contents = read(path)
    shared = contents.get("run")
    if isinstance(shared, Mapping):
        shared = {key: value for key, value in shared.items() if key in run.model_fields}
    found = problems(settings, contents.get(section), section, path) if settings.model_fields else []
    if run.model_fields:
        found += problems(run, shared, "run", path)
    if found:
        raise UserError(*found)
    return settings.model_validate(contents.get(section, {})), run.model_validate(shared or {})


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _line(model: type[Section], entry: Any, where: str, file: Path) -> str:
    keys = [*([where] if where else []), *map(str, entry["loc"])]
    path = ".".join(keys) or "the whole file"
    if entry["type"] == "missing":
        return f"{file}: {path} is missing"
    if entry["type"] == "extra_forbidden":
        known = list(_section_at(model, entry["loc"][:-1]).model_fields)
        near = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed here: {', '.join(known)}"
        return f"{file}: {path} = {_shown(entry['input'])}: unknown key; {hint}"
    message = entry["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    message = re.sub(r"a valid dictionary or instance of \w+", "a mapping", message)
    return f"{file}: {path} = {_shown(entry['input'])}: {message}"


def _section_at(model: type[Section], loc: tuple[Any, ...]) -> type[Section]:
    for key in loc:
        annotation = model.model_fields[str(key)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, Section)
        model = annotation
    return model
