"""The result of a verification for people: a table of what differs, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.verification.compare import Difference

HEAD = ["output", "stage", "first value that differs", "rebuilt", "committed", "by"]


@dataclass
class Result:
    """What a verification found."""

    commit: str
    machine: str
    unpromised: list[str]
    """Why the same bytes are not promised, so that only metrics were compared; empty if they are."""
    problems: list[str]
    """Inconsistencies of the commit, found by hashes."""
    compared: int = 0
    """Outputs, or metrics where bytes are not promised; 0 if nothing was made again."""
    differences: list[Difference] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.problems and not self.differences


def verdict(result: Result) -> str:
    """The result in one line."""
    kind = "metrics" if result.unpromised else "outputs"
    if not result.sound:
        problems, differences = len(result.problems), len(result.differences)
        found = f"inconsistencies of the commit: {problems}; differences: {differences} in {result.compared} {kind}"
    elif not result.compared:
        found = "what is committed belongs together; nothing was made again"
    elif result.unpromised:
        found = f"the {result.compared} metrics that were made again fit, by the weaker check"
    else:
        found = f"all {result.compared} outputs that were made again are the same bytes"
    return f"{'' if result.sound else 'NOT '}verified: commit {result.commit[:12]}: {found}"


def body(result: Result) -> list[str]:
    """What was found, as lines of Markdown that a terminal shows as well."""
    lines = [f"* {problem}" for problem in result.problems]
    lines += [""] * bool(lines)
    if result.differences:
        lines += [*table([HEAD, ["---"] * len(HEAD), *map(list, result.differences)]), ""]
    if result.compared:
        lines.append(f"Made again on {result.machine}.")
    if result.unpromised:
        lines.append("Metrics were compared by rules, which is the weaker check, as the same bytes are not promised:")
        lines += [f"* {reason}" for reason in result.unpromised]
    return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a Markdown table, its columns aligned."""
    cells = [[_escaped(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in cells]


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").split())


def text(result: Result) -> str:
    """The whole result for a terminal."""
    return "\n".join([*body(result), verdict(result)])


def markdown(result: Result) -> str:
    """The whole result for a comment on a pull request."""
    return "\n".join([f"### {verdict(result)}", "", *body(result)]) + "\n"
