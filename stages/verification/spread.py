"""How far do numbers lie apart on other machines? Results of verifications there, gathered into one table.

Reads:  results of `python -m stages.verify --json FILE`, each with a name for where it was made
Writes: docs/spread.json and docs/spread.md: for each line of tolerances.yaml the largest difference in each

example: python -m stages.verification.spread "AVX2=avx2.json" "one thread=threads.json"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common import cli, files
from stages.verification.compare import Class
from stages.verification.tolerances import Tolerance, Tolerances

DOCS = Path("docs")
JSON, TABLE = DOCS / "spread.json", DOCS / "spread.md"

INTRODUCTION = """\
# How far numbers lie apart on other machines

For each line of [tolerances.yaml](../tolerances.yaml) the largest difference from what is committed, in brackets the
largest relative to the committed value. [verification.md](verification.md) says what was run where. `other` is what
can't be subtracted: another text, or another number of points. Written by `python -m stages.verification.spread`.

"""

Spread = dict[str, dict[str, dict[str, float | None]]]
"""Line of tolerances.yaml, name of the environment, `difference` and `relative`; None is no number."""


def gathered(results: Mapping[str, Mapping[str, Any]], tolerances: Tolerances) -> Spread:
    """The largest differences in each environment, by line; lines that nothing differs in are left out."""
    found: Spread = {}
    for name, result in results.items():
        for value in result["values"]:
            line = tolerances.find(value["output"], value["name"])
            if value["class"] == str(Class.IDENTICAL) or line is None:
                continue
            entry = found.setdefault(": ".join(line), {}).setdefault(name, {"difference": 0.0, "relative": 0.0})
            for key, largest in entry.items():
                here = value[key]
                entry[key] = None if here is None or largest is None else max(largest, float(f"{here:.2g}"))
    return found


def allowed(tolerance: Tolerance) -> str:
    """A tolerance in a cell."""
    if tolerance.follows:
        return "follows others"
    if tolerance.digit:
        return "one unit of the sixth digit"
    parts = [f"{name} {value:g}" for name, value in (("rtol", tolerance.rtol), ("atol", tolerance.atol)) if value]
    return ", ".join(parts) or "none"


def markdown(spread: Spread, environments: list[str], tolerances: Tolerances) -> str:
    """The table: for each line what is allowed, why, and the largest difference in each environment."""

    def cell(of: Mapping[str, float | None] | None) -> str:
        if of is None:
            return "0"
        absolute, relative = of["difference"], of["relative"]
        if absolute is None:
            return "other"
        return f"{absolute:.1e}" + (f" ({relative:.0e})" if relative is not None else "")

    head = ["file", "value", "allowed", *environments, "why"]
    rows = []
    for (file, name), line in tolerances.lines.items():
        found = spread.get(f"{file}: {name}", {})
        measured = [cell(found.get(environment)) for environment in environments]
        rows.append([f"`{file}`", f"`{name}`", allowed(line), *measured, line.why])
    return INTRODUCTION + "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = cli.parser(__doc__, "stages.verification.spread")
    parser.add_argument("results", nargs="+", metavar="NAME=FILE", help="a result, and what to call where it was made")
    pairs = [argument.partition("=") for argument in parser.parse_args().results]
    results = {name: files.read_json(Path(path)) for name, _, path in pairs}
    tolerances = Tolerances()
    spread = gathered(results, tolerances)
    files.write_json(JSON, spread)
    files.write_text(TABLE, markdown(spread, list(results), tolerances))


if __name__ == "__main__":
    cli.run(main)
