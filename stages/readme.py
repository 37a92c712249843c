"""Write the generated sections of README.md anew: the pipeline's graph and the tables' columns.

A section stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

example: python -m stages.readme
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.common import cli, files, params, tables

README = Path("README.md")
PIPELINE = Path("dvc.yaml")


def _paths(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        yield re.sub(r"seed-\$\{[^}]*\}", "seed", entry if isinstance(entry, str) else next(iter(entry)))


def edges(stages: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Which stage feeds which, from the outputs and dependencies of a `dvc.yaml`; `check` feeds all and is left out."""
    made = {
        path: name for name, stage in stages.items() for kind in ("outs", "metrics", "plots")
        for path in _paths(stage.get(kind, []))
    }  # fmt: skip
    found = {
        (maker, name)
        for name, stage in stages.items()
        for dependency in _paths(stage.get("deps", []))
        for path, maker in made.items()
        if f"{path}/".startswith(f"{dependency}/") or f"{dependency}/".startswith(f"{path}/")
    }
    order = list(stages)
    yield from sorted((e for e in found if e[0] != "check"), key=lambda e: (order.index(e[0]), order.index(e[1])))


def graph(stages: dict[str, Any]) -> str:
    """The pipeline as a Mermaid flow chart."""
    lines = [f"    {maker} --> {user}" for maker, user in edges(stages)]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"]) + "\n"


def sections() -> dict[str, str]:
    """The generated sections by name."""
    return {"pipeline": graph(params.read(PIPELINE)["stages"]), "tables": tables.markdown()}


def updated(text: str) -> str:
    """README text with its generated sections made anew.

    Raises:
        UserError: if a section's marks are missing.
    """
    for name, contents in sections().items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(\n?<!-- end of {name} -->)", re.DOTALL)
        if not marked.search(text):
            raise cli.UserError(f"{README}: the marks <!-- {name} --> and <!-- end of {name} --> are missing")
        text = marked.sub(lambda match, new=contents: match[1] + new + match[2].strip("\n"), text)  # type: ignore[misc]
    return text


def main() -> None:
    cli.no_arguments(__doc__, "stages.readme")
    files.write_text(README, updated(README.read_text("utf-8")))


if __name__ == "__main__":
    cli.run(main)
