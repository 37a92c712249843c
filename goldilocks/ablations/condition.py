"""A condition of the ablations. Each has a file of its own, so that a new condition does not run the others again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from goldilocks.config.ablate import Settings
from goldilocks.core import cli, files, params

FOLDER = Path("ablations/conditions")
OF_TEXT = ("context_length", "text")
"""What a condition may change about its text: the context length, or the second text instead of the default."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Condition(NamedTuple):
    """How a Model 5 and its training differ from the articles'."""

    label: str
    variant: Mapping[str, Any] = NOTHING
    """Changed fields of its `Variant`."""

    start: Mapping[str, float] = NOTHING
    """Factors that multiply initial weights, by part: `blocks`, `qk` or `embedding`."""

    settings: Mapping[str, Any] = NOTHING
    """Changed entries of the section `ablate`, and those of `OF_TEXT`."""

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
        """Save it under a name, for runs to read."""
        files.write_json(FOLDER / f"{name}.json", {key: value for key, value in self._asdict().items() if value})

    @classmethod
    def read(cls, name: str) -> Condition:
        """The condition saved under a name.

        Raises:
            UserError: if there is none.
        """
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.json")))
            raise cli.UserError(f"{path}: no such file, so no such condition; there are: {known}")
        return cls(**files.read_json(path))
