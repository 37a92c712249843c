"""Write the generated sections of README.md and docs/ anew: what was found, the graph, tables' columns, the kept run.

A section stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

Reads:  dvc.yaml, reports/metrics/, reports/ablations/metrics.json and reports/paper/
Writes: the pages of PAGES; with --check nothing

examples:
  python -m stages.readme            write them
  python -m stages.readme --check    only say whether they are what they would be now
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template

from stages.common import cli, files, params, schemas
from stages.evidence.criteria import Known

PAGES = {
    Path("README.md"): "findings",
    Path("docs/architecture.md"): "pipeline",
    Path("docs/tables.md"): "tables",
    Path("docs/training.md"): "kept run",
}
"""Each page and its generated section."""

PIPELINE = Path("dvc.yaml")
REPORTS = Path("reports")
FINDINGS = Path(__file__).with_name("findings.md.j2")


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


def without_detours(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges of an acyclic graph but for those between stages that other edges join already, in the same order."""
    edges = list(edges)
    following: dict[str, set[str]] = {}
    for maker, user in edges:
        following.setdefault(maker, set()).add(user)

    def reached(start: str) -> set[str]:
        return {end for user in following.get(start, ()) for end in {user} | reached(user)}

    return [(m, u) for m, u in edges if not any(u in reached(between) for between in following[m])]


def graph(stages: dict[str, Any]) -> str:
    """The pipeline as a Mermaid flow chart, of edges that say something new."""
    lines = [f"    {maker} --> {user}" for maker, user in without_detours(edges(stages))]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"]) + "\n"


def kept_run(folder: Path) -> str:
    """What the run at the articles' size found, line by line beside what the article on initialisation says."""
    found = files.read_json(folder / "metrics" / "dynamics.json")
    training = files.read_json(folder / "metrics" / "train" / "seed-0.json")
    machine = files.read_json(folder / "machine.json")
    start = {claim: f"{each['value']:.3g}" for claim, each in found["initialisation"].items()}
    growth = [100 * value for _, value in sorted(found["growth_of_std_by_block"].items(), key=lambda i: int(i[0][6:]))]

    def value(name: str) -> float:
        return float(found[name]["value"])

    rows = [
        ("biases are 0 at the start (W1)", start["W1"]),
        ("weights of Linear layers have σ about 0.02 (W2)", start["W2"]),
        ("position embeddings about 0.044 (W3)", start["W3"]),
        ("token embeddings about 0.02, for they are tied (W4)", start["W4"]),
        (
            "(no loss is given; guessing costs ln 50257 = 10.825)",
            f"training loss {training['first_train_loss']:.3f} at first, {training['last_train_loss']:.3f} in the last "
            f"step; test loss {training['first_test_loss']:.3f} and {training['last_test_loss']:.3f}. On the same "
            f"windows counts reach {found['loss_of_unigrams']:.2f} (unigrams) and "
            f"{found['loss_of_bigrams']:.2f} (bigrams)",
        ),
        ("the QKV weights widen (W5)", f"σ grows by {100 * value('growth_of_std'):.0f} %"),
        (
            "their tails grow longer (W6)",
            f"{100 * value('change_of_tail_mass'):+.2f} points of the weights beyond three initial σ; excess kurtosis "
            f"of Q, K and V {value('change_of_excess_kurtosis'):+.2f}",
        ),
        (
            "early layers widen faster, later ones slower (W7)",
            f"σ grows by {', '.join(f'{each:.0f}' for each in growth)} % from block 0 on; rank correlation with depth "
            f"{value('rank_correlation_of_growth_with_depth'):.2f}",
        ),
        (
            "the layer next to the embedding grows most (W8)",
            f"block 0 leads the next by {100 * value('lead_of_block_0_in_growth'):.0f} points",
        ),
        (
            "at the start softmax is far from saturation (W9)",
            f"lowest mean attention entropy early on: {value('lowest_early_attention_entropy'):.3f} of the maximum",
        ),
    ]
    lines = ["| the article | this run |", "|---|---|", *(f"| {said} | {here} |" for said, here in rows), ""]
    lines.append(f"{machine['processor']}, {machine['cores']} cores: {machine['took']}.")
    return "\n".join(lines) + "\n"


def findings(reports: Path) -> str:
    """What the reports in a folder say, by the template `findings.md.j2`."""
    metrics = {path.stem: files.read_json(path) for path in (reports / "metrics").glob("*.json")}
    known = Known(metrics | {"ablations": files.read_json(reports / "ablations" / "metrics.json")}, {})

    def told(path: str, digits: int = 2, factor: float = 1.0, sign: str = "") -> str:
        value, low, high = (f"{factor * x:{sign}.{digits}f}" for x in known.estimate(path)[:3])
        return f"{value} [{low}, {high}]"

    def added(condition: str, digits: int = 2) -> str:
        shown = "" if known.at(f"ablations.conditions.{condition}.attends") else "*"
        return told(f"ablations.conditions.{condition}.added_loss", digits, sign="+") + shown

    def of_seeds(condition: str, quantity: str) -> list[float]:
        return sorted(known.at(f"ablations.conditions.{condition}.by_seed.{quantity}").values())

    template = Template(FINDINGS.read_text("utf-8"), undefined=StrictUndefined, keep_trailing_newline=True)
    return str(template.render(at=known.at, told=told, added=added, of_seeds=of_seeds))


MAKERS: dict[str, Callable[[], str]] = {
    "findings": lambda: findings(REPORTS),
    "pipeline": lambda: graph(params.read(PIPELINE)["stages"]),
    "tables": schemas.markdown,
    "kept run": lambda: kept_run(files.KEPT),
}
"""What writes each section."""


def updated(page: Path) -> str:
    """A page's text with its generated section made anew.

    Raises:
        UserError: if the section's marks are missing.
    """
    name, text = PAGES[page], page.read_text("utf-8")
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not marked.search(text):
        raise cli.UserError(f"{page}: the marks <!-- {name} --> and <!-- end of {name} --> are missing")
    new = MAKERS[name]().strip("\n") + "\n"
    return marked.sub(lambda match: match[1] + new + match[2], text)


def main() -> None:
    parser = cli.parser(__doc__, "stages.readme")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 2 if a page is out of date")
    check = parser.parse_args().check
    made = {page: updated(page) for page in PAGES}
    differing = [page for page, text in made.items() if text != page.read_text("utf-8")]
    if check and differing:
        raise cli.UserError(
            *(f"{page}: its section {PAGES[page]!r} is out of date; run make docs" for page in differing)
        )
    for page in differing:
        files.write_text(page, made[page])
        print(f"{page}: written anew")


if __name__ == "__main__":
    cli.run(main)
