"""What verification compares, and what it says of differences."""

from __future__ import annotations

import json
import math

import pytest
from closure import ROOT

from stages.check import BUILT_ON
from stages.common import params, sealed
from stages.common.cli import UserError
from stages.configure import leaves
from stages.verification import belongs, changes, influence, spread, tell
from stages.verification.compare import Class, Side, findings, judged, of_file
from stages.verification.contents import DATA, below
from stages.verification.pipeline import DIGESTS, LOCK, Recorded
from stages.verification.tolerances import Tolerance, Tolerances, difference, excess

COMMITTED = Tolerances(ROOT / "tolerances.yaml")


WHY = "a reason to be told"


@pytest.mark.parametrize(
    ("tolerance", "committed", "value", "within"),
    [
        ({}, 1.0, 1.0, True),
        ({}, 1.0, 1.0 + 1e-15, False),
        ({}, "reproduced", "reproduced", True),
        ({}, "reproduced", "undecided", False),
        ({"rtol": 0.5}, "reproduced", "undecided", False),
        ({"follows": True}, "a text", "another", True),
        ({"digit": True}, 0.123456, 0.123457, True),
        ({"digit": True}, 0.123456, 0.123458, False),
        ({"digit": True}, 999999.0, 1000000.0, True),
        ({"digit": True}, 0.0, 1e-30, False),
        ({"rtol": 0.01}, -100.0, -101.0, True),
        ({"rtol": 0.01}, -100.0, -101.1, False),
        ({"atol": 0.1}, 0.0, -0.1, True),
        ({"atol": 0.1}, 0.0, 0.11, False),
        ({"atol": 1e9}, math.nan, 0.0, False),
        ({"atol": 0.0}, math.nan, math.nan, True),
        ({"atol": 1e9}, math.inf, -math.inf, False),
        ({"atol": 0.1}, [1.0, 2.0], [1.05, 2.0], True),
        ({"atol": 0.1}, [1.0, 2.0], [1.05, 2.2], False),
        ({"atol": 0.1}, [1.0, 2.0], [1.0], False),
        ({"atol": 2.0}, True, False, False),
        ({"atol": 2.0}, 1.0, "1.0", False),
    ],
)
def test_tolerances(tolerance, committed, value, within):
    assert (excess(value, committed, Tolerance(**tolerance, why=WHY)) <= 1) is within


def test_differences_of_what_is_not_a_number():
    assert difference("a", 1.0) is None
    assert difference([1.0], 3.0) == 2.0
    assert difference([math.nan, math.inf, 1.0], [math.nan, math.inf, math.nan]).tolist() == [0, 0, math.inf]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('a: {b: {rtol: 0.1}}', "a: b: why: Field required"),
        ('a: {b: {rtol: 0.1, digit: true, why: "both of them"}}', "takes follows, or digit, or rtol and atol"),
        ('a: {b: {rtol: -1.0, why: "less than nothing"}}', "greater than or equal to 0"),
        ('a: {b: {rtol: .inf, why: "all there is"}}', "finite number"),
        ('a: {b: {slack: 1.0, why: "an unknown word"}}', "a: b: slack"),
        ('a: {b: {why: "ten letters"}, b: {why: "ten letters"}}', 'duplicate key "b"'),
        ("- a", "must be a mapping"),
    ],
)  # fmt: skip
def test_unsound_tolerances_are_refused(tmp_path, text, problem):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        Tolerances(tmp_path / "t.yaml")
    assert problem in str(error.value)


def tolerances(tmp_path, text):
    (tmp_path / "t.yaml").write_text(text)
    return Tolerances(tmp_path / "t.yaml")


def test_of_lines_that_fit_the_first_holds(tmp_path):
    found = tolerances(tmp_path, f'm/*.json: {{"*.n": {{why: "{WHY}"}}, "*": {{rtol: 0.1, why: "{WHY}"}}}}')
    assert found.find("m/a.json", "x.n") == ("m/*.json", "*.n")
    assert found.find("m/a.json", "x.value") == ("m/*.json", "*")
    assert found.find("other.json", "x.n") is None


LINES = f'"*": {{loose: {{atol: 0.1, why: "{WHY}"}}, strict: {{why: "{WHY}"}}}}'


@pytest.mark.parametrize(
    ("here", "there", "result"),
    [
        (Side("1", {DATA: "a", "loose": 1.0}), Side("1", {DATA: "a", "loose": 1.0}), Class.IDENTICAL),
        (Side("1", {DATA: "a", "loose": 1.0}), Side("2", {DATA: "a", "loose": 1.0}), Class.EQUAL),
        (Side("1", {DATA: "a", "loose": 1.0}), Side("2", {DATA: "b", "loose": 1.0}), Class.WITHIN),
        (Side("1", {DATA: "a", "loose": 1.05}), Side("2", {DATA: "b", "loose": 1.0}), Class.WITHIN),
        (Side("1", {DATA: "a", "loose": 1.2}), Side("2", {DATA: "b", "loose": 1.0}), Class.OFF),
        (Side("1", {DATA: "a", "strict": 1.05}), Side("2", {DATA: "b", "strict": 1.0}), Class.OFF),
        (Side("1", {DATA: "a"}), Side("2", {DATA: "b"}), Class.OFF),
        (Side("1", {DATA: "a"}), Side("1", {DATA: "a"}), Class.IDENTICAL),
        (Side("1", {DATA: "a", "loose": 1.0}), Side("2", {DATA: "b"}), Class.OFF),
        (Side("1", {DATA: "a"}), Side("2", {DATA: "b", "loose": 1.0}), Class.OFF),
        (Side("1", {DATA: "a", "no line": 1.0}), Side("1", {DATA: "a", "no line": 1.0}), Class.OFF),
    ],
)
def test_the_class_of_an_output(tmp_path, here, there, result):
    found = list(findings("an output", here, there, tolerances(tmp_path, LINES)))
    assert judged(here, there, found) == result
    assert all(json.dumps(finding.told(), allow_nan=False) for finding in found)


STATUS = {
    "sweep": [
        {"changed deps": {"data/checked": "deleted", "stages/sweep.py": "modified"}},
        {"changed deps": {"params.yaml": {"sweep.trials": "modified"}}},
        {"changed outs": {"data/sweep.parquet": "not in cache", "reports/metrics/sweep.json": "modified"}},
    ],
    "report": ["changed command", {"changed outs": {"reports/index.html": "deleted"}}],
}  # fmt: skip


def test_what_dvc_finds_changed_is_told_but_for_data_that_is_not_in_git():
    assert list(belongs.differing(STATUS)) == [
        "sweep: changed deps: stages/sweep.py modified since dvc.lock was written",
        "sweep: params.yaml: sweep.trials is modified, dvc.lock has another",
        "sweep: changed outs: reports/metrics/sweep.json modified since dvc.lock was written",
        "report: changed command since dvc.lock was written",
        "report: changed outs: reports/index.html deleted since dvc.lock was written",
    ]


@pytest.fixture
def recorded(tmp_path):
    (tmp_path / "dvc.lock").write_text(
        "stages:\n"
        "  a: {outs: [{path: data/a, md5: '1'}]}\n"
        "  b: {deps: [{path: data/a, md5: '2'}], outs: [{path: reports/b, md5: '3'}]}\n"
    )
    return Recorded(tmp_path / "dvc.lock")


def test_hashes_must_lead_from_stage_to_stage(recorded):
    assert list(belongs.broken_links(recorded)) == [
        "b: was made from another data/a than a made; dvc.lock joins two runs"
    ]
    found = list(belongs.undescribed(recorded, {"data/a": {"md5": "1"}}))
    assert found == ["b: reports/digests.json describes another data/a than dvc.lock records"]
    assert len(list(belongs.undescribed(recorded, {}))) == 2
    assert list(belongs.unclaimed(recorded, ["reports/b/c.svg", "reports/d.svg", "README.md"])) == [
        "reports/d.svg: committed, and no stage makes it"
    ]


def test_a_stage_needs_whoever_makes_what_it_reads_or_a_part_of_it(tmp_path):
    (tmp_path / "dvc.lock").write_text(
        "stages:\n"
        "  a: {outs: [{path: data/a, md5: '1'}]}\n"
        "  b: {deps: [{path: data/a/x.json, md5: '2'}], outs: [{path: reports/b, md5: '3'}]}\n"
        "  c: {deps: [{path: reports, md5: '4'}]}\n"
        "  d: {deps: [{path: data/ab, md5: '5'}]}\n"
    )
    found = Recorded(tmp_path / "dvc.lock")
    assert found.needed(["c"]) == ["a", "b", "c"]
    assert found.needed(["d"]) == ["d"]


def test_the_committed_state_belongs_together_as_far_as_hashes_tell():
    recorded = Recorded(ROOT / LOCK)
    digests = json.loads((ROOT / DIGESTS).read_text("utf-8"))
    assert list(belongs.broken_links(recorded)) == []
    assert list(belongs.undescribed(recorded, digests)) == []
    assert list(belongs.broken_seals(ROOT)) == []


def test_a_sealed_folder_is_looked_into(tmp_path):
    for folder in BUILT_ON:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.json").write_text("{}")
        sealed.seal(tmp_path / folder)
    assert list(belongs.broken_seals(tmp_path)) == []
    (tmp_path / "reports/paper/a.json").write_text("[]")
    (problem,) = belongs.broken_seals(tmp_path)
    assert problem.startswith(
        "reports/paper/a.json: damaged or edited, reports/paper/SHA256SUMS says; `git checkout rep"
    )


def committed_values():
    """Every value that a verification compares, of files in git and of those that are described there."""
    digests = json.loads((ROOT / DIGESTS).read_text("utf-8"))
    sides = {path: entry["contents"] for path, entry in digests.items()}
    for output in Recorded(ROOT / LOCK).outputs():
        if not output.startswith("data/") and output != str(DIGESTS):
            sides |= {path.relative_to(ROOT).as_posix(): of_file(path).contents for path in below(ROOT / output)}
    for path in [*below(ROOT / "reports/ablations"), *below(ROOT / "ablations/runs")]:
        sides[path.relative_to(ROOT).as_posix()] = of_file(path).contents
    return [(path, name) for path, own in sides.items() for name in own if name != DATA]


def test_every_value_has_a_tolerance_and_every_tolerance_a_value():
    found = {value: COMMITTED.find(*value) for value in committed_values()}
    assert [value for value, line in found.items() if line is None] == []
    of_other_inputs = ["S10.*", "S11.*", "S12.*", "*.gamma.*", "*.beta.*"]
    assert [name for file, name in COMMITTED.lines if (file, name) not in found.values()] == of_other_inputs


def too_wide(tolerance, spreads, most=10):
    """Whether a tolerance is more than `most` times the largest spread; one unit of the sixth digit never is."""
    for name, given in (("relative", tolerance.rtol), ("difference", tolerance.atol)):
        measured = [of[name] for of in spreads.values()]
        largest = max((value for value in measured if value is not None), default=0.0)
        if given > most * largest and None not in measured:
            return True
    return False


def test_no_tolerance_is_wider_than_ten_times_what_was_measured():
    measured = json.loads((ROOT / spread.JSON).read_text("utf-8"))
    wide = [line for line, of in COMMITTED.lines.items() if too_wide(of, measured.get(": ".join(line), {}))]
    assert wide == []
    assert (ROOT / spread.TABLE).read_text("utf-8").count("\n| `") == len(COMMITTED.lines)


@pytest.mark.parametrize(
    ("tolerance", "measured", "wide"),
    [
        ({}, {}, False),
        ({"digit": True}, {}, False),
        ({"rtol": 1e-9}, {}, True),
        ({"rtol": 1e-3}, {"a": {"relative": 1e-4, "difference": 1.0}}, False),
        ({"rtol": 1.1e-3}, {"a": {"relative": 1e-4, "difference": 1.0}}, True),
        ({"atol": 1.1e-3}, {"a": {"relative": 1.0, "difference": 1e-4}, "b": {"relative": 0.0, "difference": 0}}, True),
    ],
)  # fmt: skip
def test_what_counts_as_too_wide(tolerance, measured, wide):
    assert too_wide(Tolerance(**tolerance, why=WHY), measured) is wide


def test_every_parameter_has_a_change_to_try_or_a_reason_why_not():
    keys = [".".join(keys) for keys, _ in leaves(params.read(ROOT / "params.yaml"))]
    assert list(influence.uncovered(keys)) == []
    assert list(influence.uncovered([*keys, "new.one"])) == [
        "new.one: stages/verification/changes.py has no change of it to try, nor why not"
    ]
    assert all(len(reason) > 10 for reason in changes.UNTRIED.values())


def test_the_parameter_itself_is_no_result():
    before = {"a": {DATA: "1", "n": 20, "value": 1.5}}
    assert not influence.changed(before, {"a": {DATA: "2", "n": 23, "value": 1.5}}, 20, 23)
    assert influence.changed(before, {"a": {DATA: "2", "n": 23, "value": 1.4}}, 20, 23)
    assert influence.changed(before, {"a": {DATA: "1", "n": 20, "value": 1.5}, "b": {}}, 20, 23)
    assert influence.changed({"a": {DATA: "1"}}, {"a": {DATA: "2"}}, 20, 23)


RESULT = {
    "commit": "0123456789abcdef", "set": [], "problems": [], "influence": {"tried": 3}, "off": 1,
    "outputs": [
        {"output": "data/a", "stage": "a", "class": "within tolerance", "files": 1, "values": 2, "worst": "x.mean"},
        {"output": "reports/metrics/b.json", "stage": "b", "class": "off", "files": 1, "values": 1, "worst": "<y>"},
    ],
    "values": [
        {"output": "data/a", "of": "data/a", "name": "x.mean", "class": "within tolerance", "metric": False,
         "value": 1.01, "committed": 1.0, "rtol": 0.02, "atol": 0.0, "times": 0.5, "difference": 0.01, "relative": 0.01,
         "problem": ""},
        {"output": "reports/metrics/b.json", "of": "reports/metrics/b.json", "name": "y|z", "class": "off",
         "metric": True, "value": "<b>", "committed": 3.0, "rtol": 0.0, "atol": 0.0, "times": None, "difference": None,
         "relative": None, "problem": ""},
    ],
}  # fmt: skip


def test_the_result_is_told_as_table_as_markdown_and_in_a_sentence():
    text = tell.text(RESULT)
    assert "NOT verified: commit 0123456789ab: 1 off" in text
    assert "2 outputs: 1 within tolerance, 1 off; 1 metrics: 1 off" in text
    assert text.index("reports/metrics/b.json: y|z") < text.index("data/a: x.mean"), "what is off comes first"
    page = tell.markdown(RESULT)
    assert "| reports/metrics/b.json: y\\|z | off | &lt;b> | 3 | 0 | 0 |" in page
    assert tell.explanation(RESULT) == (
        "the first stage that differs is a: data/a, x.mean: 1.01, committed 1, by 0.01 (0.01 of it): within tolerance"
    )
    assert tell.explanation(RESULT | {"problems": ["dvc.lock: edited"]}) == "before any rebuild: dvc.lock: edited"
    fine = RESULT | {"outputs": [], "values": [], "off": 0}
    assert tell.text(fine).endswith("verified: commit 0123456789ab: nothing is off")
    assert tell.explanation(fine) == "nothing differs: every output is identical"
