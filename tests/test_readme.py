import re

import pytest
from closure import ROOT

from stages import readme

TEXT = (ROOT / "README.md").read_text("utf-8")


def test_generated_sections_are_what_they_would_be_now(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert readme.updated(TEXT) == TEXT, "run `make docs`"


def test_a_missing_mark_is_told(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(readme.cli.UserError, match="<!-- findings -->"):
        readme.updated("no marks")


def test_the_graph_holds_every_stage_and_the_right_edges():
    stages = readme.params.read(ROOT / "dvc.yaml")["stages"]
    edges = set(readme.edges(stages))
    assert {name for edge in edges for name in edge} == set(stages) - {"check"}
    assert {("inputs", "tokens"), ("train", "dynamics"), ("train", "layernorm"), ("figures", "report")} <= edges
    assert ("dynamics", "train") not in edges


def test_what_it_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_make_targets_it_names_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets
