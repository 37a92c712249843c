"""What README.md and docs/ say is current: generated sections, links, targets of make."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from closure import ROOT
from conftest import Project
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from tools import build_docs

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
LONGEST_README = 260  # lines: a front page
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page):
    """What the headings of a page are called in links, as GitHub does it."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_sections_are_what_they_would_be_now(committed):
    """All of one tree: the committed pages and what the committed code makes of the committed results."""
    Project(committed).check("python", "-m", "tools.build_docs", "--check")


def test_a_page_that_is_out_of_date_is_reported_and_rewritten(bare, monkeypatch):
    page = Path("docs/tables.md")
    current = (ROOT / page).read_text("utf-8")
    outdated = current.replace("int32", "int33")
    build_docs.files.write_text(bare.folder / page, outdated)
    monkeypatch.setattr(build_docs, "PAGES", {page: ("tables",)})
    done = bare.here("tools.build_docs", "--check")
    assert (done.returncode, bare.read(page)) == (2, outdated)
    assert "error: docs/tables.md: tables is out of date; run make docs\n" in done.stderr
    assert bare.here("tools.build_docs").returncode == 0
    assert bare.read(page) == current


def test_the_table_of_the_kept_run_has_the_kept_numbers(committed):
    page = (ROOT / "docs/training.md").read_text("utf-8")
    table = page.split("| the article | this run |")[1].split("\n\n")[0]
    kept = build_docs.files.read_json(committed / "reports/paper/metrics/dynamics.json")
    for each in kept["initialisation"].values():
        assert f" {each['value']:.3g} |" in table
    by_block = sorted(kept["growth_of_std_by_block"].items(), key=lambda entry: int(entry[0].removeprefix("block_")))
    assert f"σ grows by {100 * kept['growth_of_std']['value']:.0f} %" in table
    assert f"σ grows by {', '.join(f'{100 * growth:.0f}' for _, growth in by_block)} % from block 0 on" in table
    assert f"{kept['lowest_early_attention_entropy']['value']:.3f} of the maximum" in table


def test_a_number_that_is_not_0_does_not_look_like_it():
    numbers = [build_docs.number(value, 2, "+") for value in (0.174, -0.0046, -1e-9)]
    assert numbers == ["+0.17", "-0.005", "+0.000"]


def test_the_graph_holds_every_stage_and_the_right_arrows():
    stages = build_docs.params.read(ROOT / "dvc.yaml")["stages"]
    drawn = set(build_docs.arrows(stages))
    assert {("inputs", "tokens"), ("train", "dynamics"), ("train", "layernorm"), ("figures", "report")} <= drawn
    assert not drawn & {("dynamics", "train"), ("inputs", "train")}, "inputs, tokens, train says it"
    assert {name for arrow in drawn for name in arrow} == set(stages) - {"check"}


def test_editors_get_a_schema_of_the_parameters():
    text = (ROOT / "params.yaml").read_text("utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    schema, contents = json.loads((ROOT / named).read_text("utf-8")), YAML(typ="safe").load(text)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(contents)
    for wrong in ({"steps": 0}, {"step": 801}, {"compile": 1}):
        assert not Draft202012Validator(schema).is_valid(contents | {"train": contents["train"] | wrong})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_or_names_exists(page):
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", FENCED.sub("", text)):
        if not link.startswith(("http", "../../actions/")):  # which is of GitHub
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link
    # paths in backticks that begin with a folder of sources; capitals and stars stand for something
    files = re.findall(r"`((?:goldilocks|stages|tools|tests|presets|docs)/[a-z0-9_./-]+)`", text)
    assert [path for path in files if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert page.name == "CHANGELOG.md" or set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= {*targets}


def test_the_readme_links_to_every_page_and_stays_a_front_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"\]\((docs/[a-z-]+\.md)\)", text)) == {
        page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md")
    }
    assert len(text.splitlines()) <= LONGEST_README


def test_changelog_and_citation_are_of_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.search(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)[1]
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert str(citation["version"]) == released == version
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", "MIT")
    assert {"message", "title", "authors"} <= set(citation)
