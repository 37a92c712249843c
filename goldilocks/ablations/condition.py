"""A condition of the ablations, as its run reads it: each from a file of its own, so that a new one runs no other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from goldilocks.config.ablate import Settings
from goldilocks.core import cli, files, params

FOLDER = Path("ablations/conditions")
OF_TEXT = ("context_length", "text")
"""What a condition may ask of its text: a context length, or `second_text` in place of the first."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Condition(NamedTuple):
    """How a Model 5 and its training differ from the articles'."""

    label: str
    variant: Mapping[str, Any] = NOTHING
    """Fields of its `Variant`."""

    start: Mapping[str, float] = NOTHING
    """Factors on the usual initial weights, by what they are of: `blocks`, `qk` or `embedding`."""

    settings: Mapping[str, Any] = NOTHING
    """Entries of the section `ablate`, and those of `OF_TEXT`."""

    def changed(self, settings: Settings) -> Settings:
        """The settings with which this condition is trained.

        Raises:
            UserError: if they do not go together.
        """
        own = {key: value for key, value in self.settings.items() if key not in OF_TEXT}
        together = settings.model_dump() | own
        if problems := params.problems(Settings, together, "ablate"):
            raise cli.UserError(*(f"{self.label}: {problem}" for problem in problems))
        return Settings.model_validate(together)

    def write(self, name: str) -> None:
        """Let runs find it under a name."""
        files.write_json(FOLDER / f"{name}.json", {key: value for key, value in self._asdict().items() if value})

    @classmethod
    def read(cls, name: str) -> Condition:
        """The one written under a name.

        Raises:
            UserError: if there is none.
        """
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.json")))
            raise cli.UserError(f"{path}: no such file, so no such condition; there are: {known}")
        return cls(**files.read_json(path))
