"""What verification compares, and what it says of differences."""

from __future__ import annotations

import json
import math
import re

import pandas as pd
import pytest
import torch
from safetensors.torch import save as save_torch

from goldilocks.core import files
from goldilocks.core.dvc_files import LOCK, md5
from tools import verify
from tools.verification import approximate, compare
from tools.verification.compare import ABSENT, Difference, first_difference, of_lock, values


def table(**columns):
    return pd.DataFrame(columns).to_parquet(None)


FILES = {
    "JSON": ("a.json", b'{"a": 1, "b": {"c": [1.5, 2.5]}}', b'{"a": 1, "b": {"c": [1.5, 2.25]}}',
             ("b.c.1", "2.5", "2.25", "0.25")),
    "a word": ("a.json", b'{"verdict": "yes"}', b'{"verdict": "no"}', ("verdict", "yes", "no", "")),
    "a name more": ("a.json", b'{"a": 1, "b": 2}', b'{"a": 1}', ("b", "present", "–", "")),
    "fewer rows": ("a.csv", b"x,y\n1,2\n3,4\n", b"x,y\n1,2\n", ("x: number of entries", "2", "1", "")),
    "a table": ("a.parquet", table(x=[math.nan, 1.0]), table(x=[math.nan, 1.125]), ("x[1]", "1.0", "1.125", "0.125")),
    "other bytes": ("a.parquet", table(x=[math.nan]), table(x=[math.nan]), ("the same values, stored otherwise",
                    "", "", "")),
    "bf16": ("a.safetensors", save_torch({"a": torch.tensor([1.5, 2.0], dtype=torch.bfloat16)}),
             save_torch({"a": torch.tensor([1.5, 1.0], dtype=torch.bfloat16)}), ("a[1]", "2.0", "1.0", "1")),
    "a page": ("a.svg", b"<svg>\n" + 60 * b"x" + b"12</svg>", b"<svg>\n" + 60 * b"x" + b"13</svg>",
               ("lines[1]", 14 * "x" + "12</svg>", 14 * "x" + "13</svg>", "")),
    "no JSON": ("a.json", b"{1", b"{2", ("bytes[1]", "49", "50", "1")),
}  # fmt: skip


@pytest.mark.parametrize(("name", "here", "there", "told"), FILES.values(), ids=FILES)
def test_the_first_value_that_differs(name, here, there, told):
    assert first_difference(values(name, here), values(name, there)) == told


class Sides:
    """A rebuilt clone and a committed one, to compare, with an empty cache."""

    def __init__(self, folder):
        self.folders, self.cache = (folder / "rebuilt", folder / "committed"), folder / "cache"

    def write(self, text, path="data/a", sides=(0, 1)):
        """Write a file in one or both clones; returns its hash."""
        for side in sides:
            files.write_text(self.folders[side] / path, text)
        return md5(self.folders[sides[0]] / path)

    def lock(self, here, there):
        """Write each clone's `dvc.lock` with the hashes of each stage's dependencies and outputs."""
        for folder, stages in zip(self.folders, (here, there), strict=True):
            recorded = {
                stage: {kind: [{"path": path, "md5": md5} for path, md5 in of.items()] for kind, of in entries.items()}
                for stage, entries in stages.items()
            }
            files.write_text(folder / LOCK, json.dumps({"schema": "2.0", "stages": recorded}))

    def compare(self, whole=False):
        return of_lock(LOCK, *self.folders, self.cache, whole)


@pytest.fixture
def sides(tmp_path):
    return Sides(tmp_path)


def test_a_report_is_compared_whatever_its_hash_in_the_lock(sides):
    recorded = {"a": {"outs": {"reports/a.csv": sides.write("x\n1\n", "reports/a.csv")}}}
    sides.lock(recorded, recorded)
    assert sides.compare(whole=True) == (1, [])
    sides.write("x\n3\n", "reports/a.csv", sides=[1])
    assert sides.compare() == (1, [Difference("reports/a.csv", "a", "x", "1", "3", "2")])
    sides.write("x\n1\n", "reports/a.csv")
    sides.lock(recorded, {"a": {"outs": {"reports/a.csv": 32 * "0"}}})
    assert sides.compare() == (1, [Difference("reports/a.csv", "a", "the committed dvc.lock has another hash")])


def test_of_a_folder_the_first_file_that_differs_is_described(sides):
    for side, number in enumerate((1, 3)):
        for name in ("a-b/x.csv", "a/x.csv", "a/y.csv"):
            sides.write(f"n\n{number if 'a/' in name else 0}\n", f"reports/m/{name}", sides=[side])
    recorded = {"a": {"outs": {"reports/m": "1.dir"}}}
    sides.lock(recorded, recorded)
    assert sides.compare() == (1, [Difference("reports/m: a/x.csv and 1 more", "a", "n", "1", "3", "2")])
    files.remove(sides.folders[0] / "reports/m/a/x.csv")
    sides.write("", "reports/m/a/new", sides=[0])
    _, (found,) = sides.compare()
    assert (found.output, found.what) == ("reports/m: a/new and 2 more", "not committed")


def test_what_only_one_side_has_and_a_dependency_with_another_hash_are_told(sides):
    def stages(output, part):
        return {"a": {"outs": {"data/a": output}}, "b": {"deps": {"data/a/x": part}}}

    sides.lock(stages("1", "2"), stages("1", "3"))
    other = Difference("data/a/x", "b", "the committed dvc.lock has another hash of this dependency")
    assert sides.compare() == (1, [other])
    sides.lock(stages("1", "2"), stages("4", "3"))
    assert sides.compare() == (1, [Difference("data/a", "a", ABSENT)]), "it follows"
    sides.lock({"a": {"outs": {"data/a": "1"}}}, {"b": {"outs": {"data/b": "2"}}})
    new = Difference("data/a", "a", "not in the committed dvc.lock")
    assert sides.compare() == (1, [new])
    assert sides.compare(whole=True) == (2, [new, Difference("data/b", "b", "not made again")])


def off(path, here, there):
    return [name for name, _ in approximate.of_file(path, here, there)]


def test_words_and_whole_numbers_must_be_equal():
    there = {"W1.verdict": "reproduced", "W1.n": 500_000, "W1.on": True, "W1.value": 1.0}
    assert off("claims.json", there, there) == []
    for name, value in (("W1.verdict", "undecided"), ("W1.n", 500_001), ("W1.on", False), ("W1.on", 1)):
        assert off("claims.json", there | {name: value}, there) == [name]
    assert off("claims.json", there | {"W1.value": math.nan}, there) == ["W1.value"]
    assert off("claims.json", {}, there) == off("claims.json", there, {}) == list(there)


def test_rules_are_few_have_reasons_and_all_are_needed(committed):
    folder = committed / files.METRICS
    used = {
        approximate.rule(path.relative_to(folder).as_posix(), name)
        for path in folder.rglob("*.json")
        for name, value in compare.leaves(files.read_json(path))
        if isinstance(value, float)
    }
    assert used == set(approximate.RULES)
    assert len(approximate.RULES) <= 10
    assert all(len(rule.why) > 20 for rule in approximate.RULES)


COMMITTED = {
    "x.value": 1.0, "x.low": 0.9, "x.high": 1.1, "growth_of_std_by_part.q": 0.4,
    "model5.gamma.below": 0.1, "model5.gamma.mean": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name", "allowed", "refused"),
    [
        ("sweep.json", "x.value", 1.00001, 1.00002),
        ("dynamics.json", "x.value", 0.6, 1.41),
        ("logits.json", "x.low", 1.9, 1.91),
        ("dynamics.json", "growth_of_std_by_part.q", 0.48, 0.481),
        ("layernorm.json", "model5.gamma.below", 0.12, 0.121),
        ("layernorm.json", "model5.gamma.mean", 1.15, 1.16),
    ],
)
def test_how_far_a_metric_may_lie_off(path, name, allowed, refused):
    assert off(path, COMMITTED | {name: allowed}, COMMITTED) == []
    assert off(path, COMMITTED | {name: refused}, COMMITTED) == [name]


def test_numbers_of_single_models_are_not_compared():
    there = {"added_loss.unscaled.by_seed.seed_0": 0.05, "most_inside.step": 150, "added_loss.unscaled.value": 0.01}
    assert off("logits.json", dict.fromkeys(there, 200), there) == ["added_loss.unscaled.value"]
    for path, name in (
        ("claims.json", "W6.survives_bonferroni"), ("claims.json", "family.survive_bonferroni"),
        ("dynamics.json", "page_p_of_growth"), ("headlines.json", "last test loss"),
    ):  # fmt: skip
        assert off(path, {name: 9}, {name: 1}) == []


def test_the_result_is_a_line_and_a_table_that_a_terminal_shows_too(monkeypatch):
    monkeypatch.setattr(verify.platform, "platform", lambda: "a platform")
    difference = Difference("data/a", "a", "x|y", "<b>", "3.0", "1e-05")
    wrong = verify.Result("0123456789abcdef", [], ["a: b"], 3, [difference])
    line = "NOT verified: commit 0123456789ab: inconsistencies of the commit: 1; differences: 1 in 3 outputs"
    assert wrong.verdict() == line
    *lines, machine = wrong.body()
    assert lines == [
        "* a: b", "",
        "| output | stage | first value that differs | rebuilt | committed | by    |",
        "| ---    | ---   | ---                      | ---     | ---       | ---   |",
        "| data/a | a     | x\\|y                     | &lt;b>  | 3.0       | 1e-05 |", "",
    ]  # fmt: skip
    assert re.fullmatch(r"Made again on .+, \d+ cores, a platform\.", machine)
    assert not verify.Result("0", [], ["a: b"]).sound
