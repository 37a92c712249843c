"""Write the generated sections of README.md and docs/ (findings, graph, tables), and the schema of params.yaml.

A section stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

Reads:  dvc.yaml, params.yaml, reports/metrics/ and reports/ablations/metrics.json
Writes: the pages of PAGES and params.schema.json; with --check nothing

examples:
  python -m tools.build_docs            write them
  python -m tools.build_docs --check    only say whether they are what they would be now
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import groupby, product
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template

from goldilocks.claims.criteria import MetricTree
from goldilocks.core import cli, files, params, schemas
from goldilocks.core.dvc_files import paths_overlap
from stages.check import Params

PAGES = {
    Path("README.md"): ("summary", "pipeline"),
    Path("docs/findings.md"): ("findings",),
    Path("docs/architecture.md"): ("pipeline",),
    Path("docs/tables.md"): ("tables",),
}
"""Each page and its generated sections."""

SCHEMA = Path("params.schema.json")
"""Types and ranges of the parameters, for editors."""

PIPELINE = Path("dvc.yaml")
REPORTS = Path("reports")
TEMPLATES = Path(__file__).parent


def paths(stage: dict[str, Any], *kinds: str) -> list[str]:
    """The dependencies or outputs that a stage of a `dvc.yaml` declares, with a star for what varies."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    return [re.sub(r"\$\{.*?\}", "*", entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]


def arrows(stages: dict[str, Any]) -> list[tuple[str, str]]:
    """Which stage feeds which, but for arrows that a longer path implies; `check` feeds all and is left out."""
    made = {name: paths(stage, "outs", "metrics", "plots") for name, stage in stages.items() if name != "check"}
    needs: dict[str, set[str]] = {name: set() for name in stages}
    for (maker, outs), (user, stage) in product(made.items(), stages.items()):
        if maker != user and any(paths_overlap(*pair) for pair in product(outs, paths(stage, "deps"))):
            needs[user].add(maker)

    def above(makers: set[str]) -> set[str]:
        return set().union(*(needs[maker] | above(needs[maker]) for maker in makers))

    return [(maker, user) for maker in made for user in stages if maker in needs[user] - above(needs[user])]


def graph(stages: dict[str, Any]) -> str:
    """The pipeline as a Mermaid flow chart; stages that feed the same ones share a line."""
    makers: dict[str, list[str]] = {}
    for maker, of in groupby(arrows(stages), key=lambda arrow: arrow[0]):
        makers.setdefault(" & ".join(user for _, user in of), []).append(maker)
    lines = [f"    {' & '.join(alike)} --> {of}" for of, alike in makers.items()]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"]) + "\n"


def number(value: float, digits: int, sign: str = "") -> str:
    """A number with so many decimals, and with one more where these would all be 0."""
    text = f"{value:{sign}.{digits}f}"
    return text if float(text) else f"{value:{sign}z.{digits + 1}f}"


def from_template(name: str) -> str:
    """A template beside this module, filled in with the metrics of the reports and with params.yaml."""
    metrics = {path.stem: files.read_json(path) for path in (REPORTS / "metrics").glob("*.json")}
    known = MetricTree(metrics | {"ablations": files.read_json(files.ABLATIONS / "metrics.json")}, {})

    def value(path: str, digits: int = 2, factor: float = 1.0, sign: str = "") -> str:
        return number(factor * known.estimate(path).value, digits, sign)

    def estimate(path: str, digits: int = 2, factor: float = 1.0, sign: str = "") -> str:
        low, high = (number(factor * end, digits, sign) for end in known.estimate(path)[1:3])
        return f"{value(path, digits, factor, sign)} [{low}, {high}]"

    template = Template((TEMPLATES / name).read_text("utf-8"), undefined=StrictUndefined, keep_trailing_newline=True)
    settings = params.read()
    return str(template.render(at=known.at, value=value, estimate=estimate, settings=settings))


MAKERS: dict[str, Callable[[], str]] = {
    "summary": lambda: from_template("readme.md.j2"),
    "findings": lambda: from_template("findings.md.j2"),
    "pipeline": lambda: graph(params.read(PIPELINE)["stages"]),
    "tables": schemas.markdown,
}
"""What writes each section."""


def updated(page: Path) -> str:
    """A page's text with its generated sections made anew.

    Raises:
        UserError: if the marks of a section are missing.
    """
    text = page.read_text("utf-8")
    for name in PAGES[page]:
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not marked.search(text):
            raise cli.UserError(f"{page}: the marks <!-- {name} --> and <!-- end of {name} --> are missing")
        new = (MAKERS[name]().strip("\n") + "\n").replace("\\", r"\\")
        text = marked.sub(rf"\g<1>{new}\g<2>", text)
    return text


def main() -> None:
    parser = cli.parser(__doc__, "tools.build_docs")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 2 if a page is out of date")
    check = parser.parse_args().check
    made = {page: updated(page) for page in PAGES}
    made[SCHEMA] = json.dumps(Params.model_json_schema(), indent=1) + "\n"
    differing = [page for page, text in made.items() if not page.is_file() or text != page.read_text("utf-8")]
    if check and differing:
        raise cli.UserError(
            *(f"{page}: {' or '.join(PAGES.get(page, ['it']))} is out of date; run make docs" for page in differing)
        )
    for page in differing:
        files.write_text(page, made[page])
        print(f"{page}: written anew")


if __name__ == "__main__":
    cli.run(main)
