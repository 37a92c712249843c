"""The result of a verification for people: a table, Markdown for a comment, one sentence of explanation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stages.verification.compare import Class

OFF, EQUAL = str(Class.OFF), str(Class.EQUAL)
MOST = 40  # values told one by one; the JSON has them all


def shown(value: Any) -> str:
    """A value in a cell."""
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())[:40]


def rows_of_outputs(result: Mapping[str, Any]) -> list[list[str]]:
    """For each output: its stage, its class, its number of files and values, the value that is off or furthest."""
    return [
        [of["output"], of["stage"], of["class"], str(of["files"]), str(of["values"]), of["worst"] or ""]
        for of in result["outputs"]
    ]


def rows_of_values(result: Mapping[str, Any]) -> list[list[str]]:
    """Values that are not identical, those that are off first, then by how much of the tolerance they take."""
    differing = [value for value in result["values"] if value["class"] != "identical"]
    differing.sort(key=lambda value: (value["class"] != OFF, value["times"] is not None, -(value["times"] or 0.0)))
    return [
        [
            f"{value['output']}: {value['name']}", value["class"], shown(value["value"]), shown(value["committed"]),
            shown(value["rtol"]), shown(value["atol"]), value["problem"],
        ]
        for value in differing
    ]  # fmt: skip


HEAD_OF_OUTPUTS = ["output", "stage", "class", "files", "values", "furthest"]
HEAD_OF_VALUES = ["value of", "class", "rebuilt", "committed", "rtol", "atol", ""]


def counted(result: Mapping[str, Any]) -> str:
    """How many outputs and metrics are of which class, in one line."""
    kinds = {"outputs": result["outputs"], "metrics": [v for v in result["values"] if v["metric"]]}
    parts = []
    for kind, entries in kinds.items():
        counts = Counter(entry["class"] for entry in entries)
        parts.append(f"{len(entries)} {kind}: " + (", ".join(f"{n} {of}" for of, n in counts.most_common()) or "none"))
    return "; ".join(parts)


def verdict(result: Mapping[str, Any]) -> str:
    """What it comes to, in one line."""
    about = f"commit {result['commit'][:12]}" + (f" with {' '.join(result['set'])}" if result["set"] else "")
    if not result["off"]:
        return f"verified: {about}: nothing is off"
    return f"NOT verified: {about}: {result['off']} off"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def text(result: Mapping[str, Any]) -> str:
    """All of it for a terminal."""
    lines: list[str] = []
    if result["outputs"]:
        lines += [*table(HEAD_OF_OUTPUTS, rows_of_outputs(result)), ""]
    values = rows_of_values(result)
    if values:
        lines += [*table(HEAD_OF_VALUES, values[:MOST]), *_more(values), ""]
    lines += [f"off: {problem}" for problem in result["problems"]]
    if result["outputs"]:
        lines.append(counted(result))
    if result["influence"] is not None:
        lines.append(f"influence: {result['influence']['tried']} changes of parameters and seeds, each tried")
    return "\n".join([*lines, verdict(result)])


def _more(values: Sequence[Any]) -> list[str]:
    return [f"… and {len(values) - MOST} more; --json has them all"] if len(values) > MOST else []


def markdown(result: Mapping[str, Any]) -> str:
    """All of it for a comment on a pull request."""
    lines = [f"### {verdict(result)}", ""]
    lines += [f"* off: {_escaped(problem)}" for problem in result["problems"]]
    if result["outputs"]:
        lines += ["", f"{counted(result)}.", ""]
    values = rows_of_values(result)
    if values:
        lines += [*_markdown_table(HEAD_OF_VALUES, values[:MOST]), "", *_more(values), ""]
    if result["outputs"]:
        lines += ["<details><summary>Output by output</summary>", ""]
        lines += [*_markdown_table(HEAD_OF_OUTPUTS, rows_of_outputs(result)), "", "</details>"]
    return "\n".join(lines) + "\n"


def _escaped(cell: str) -> str:
    return cell.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def explanation(result: Mapping[str, Any]) -> str:
    """The first stage of the pipeline that differs, its value that differs most, and by how much."""
    if result["problems"]:
        return f"before any rebuild: {result['problems'][0]}"
    order = list(dict.fromkeys(of["stage"] for of in result["outputs"]))
    for stage in order:
        own = {of["output"] for of in result["outputs"] if of["stage"] == stage}
        found = [v for v in result["values"] if v["of"] in own and v["class"] != "identical"]
        if found:
            worst = max(found, key=lambda v: (v["class"] == OFF, v["times"] is None, v["times"] or 0.0))
            by = f", by {worst['difference']:.3g}" if worst["difference"] is not None else ""
            relatively = f" ({worst['relative']:.2g} of it)" if worst["relative"] is not None else ""
            return (
                f"the first stage that differs is {stage}: {worst['output']}, {worst['name']}: "
                f"{shown(worst['value'])}, committed {shown(worst['committed'])}{by}{relatively}: {worst['class']}"
                f"{'; ' + worst['problem'] if worst['problem'] else ''}"
            )
        bytes_only = [of for of in result["outputs"] if of["stage"] == stage and of["class"] != "identical"]
        if bytes_only:
            what = "the same data" if bytes_only[0]["class"] == EQUAL else "the same values to six digits"
            return f"the first stage that differs is {stage}: {bytes_only[0]['output']} has other bytes, {what}"
    return "nothing differs: every output is identical"
