"""What a user sets, by a preset or one value at a time: an edit of params.yaml, or refused with nothing written."""

import os

import pytest
from last_commit import params_text

from goldilocks.core.cli import UserError
from tools import configure

TEXT = """# top
run: # shared
  seeds: [0, 1] # which
  threads: 2 # how many

# next
train:
  rate: 1.0e-3 # how fast
  prompt: "a: b" # quoted
"""


def test_no_edit_changes_no_byte(bare):
    for text in (TEXT, bare.read("params.yaml")):
        assert configure.edited(text, []) == text


def test_an_edit_keeps_everything_else_and_can_be_taken_back():
    there = configure.edited(TEXT, [(["run", "seeds"], [0, 1, 2, 3]), (["run", "threads"], 16)])
    assert there == TEXT.replace("[0, 1]", "[0, 1, 2, 3]").replace("threads: 2", "threads: 16")
    assert configure.edited(there, [(["run", "seeds"], [0, 1]), (["run", "threads"], 2)]) == TEXT


def test_a_key_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"run\.x: no such parameter; run has: seeds, threads"):
        configure.edited(TEXT, [(["run", "x"], 1)])


def test_presets_and_single_values_are_an_edit_that_git_shows(project):
    project.check("python", "-m", "tools.configure", "--preset", "smoke", "run.seeds=[4]", "train.learning_rate=2.0e-3")
    diff = project.check("git", "diff", "-U0", "params.yaml")
    assert "+  seeds: [4] # one Model 5 is trained" in diff
    assert "+  learning_rate: 2.0e-3" in diff or "+  learning_rate: 0.002" in diff
    assert "+  width: 32 # of embeddings" in diff
    assert all("#" in line for line in diff.splitlines() if line.startswith("+  "))


def test_nothing_to_apply_leaves_a_file_written_by_hand_alone(bare):
    by_hand = bare.read("params.yaml").replace("trials: 200 #", "trials:    200     #", 1)
    (bare.folder / "params.yaml").write_text(by_hand)
    bare.configure()
    assert bare.read("params.yaml") == by_hand


def test_the_same_value_is_no_edit():
    assert configure.edited(TEXT, [(["train", "rate"], 1.0e-3), (["run", "threads"], 2)]) == TEXT


def test_every_preset_is_sound(bare):
    before = bare.read("params.yaml")
    for preset in ("smoke", "paper"):
        bare.configure(preset=preset)
        assert bare.read("params.yaml") != before
        (bare.folder / "params.yaml").write_text(before, "utf-8")


# What a user writes after SET, and whether it is a change that keeps the file sound.
GOOD = ["run.seeds=[3]", "report.title='a b'", "train.learning_rate=1e-5", "run.seeds=[0x10]", "train.prompt=a # b"]
BAD = [
    "seeds", "=1", "run.=1", "run.seeds=[0", ".x=1", "train.heads=5",
    "run.seeds=&a [*a]", "run.seeds=" + "[" * 3000, "train.steps=" + "9" * 5000, "train.steps=2001-02-31",
    'report.title="a\\0b"', "report.title=\udcff", "run.seeds", "run..seeds=1", "run.seeds.0=1", "run=1", "nope.x=1",
    "run.\x1b=1", "report.title='", "report.title=" + "x" * 10**5, "train.compile=1", "run.seeds=[1,1]",
]  # fmt: skip
SET = [(text, True) for text in GOOD] + [(text, False) for text in BAD]


@pytest.mark.parametrize(("text", "sound"), SET, ids=[f"{n} {text[:20]!a}" for n, (text, _) in enumerate(SET)])
def test_an_assignment_is_an_edit_or_is_refused(tmp_path, monkeypatch, text, sound):
    before = params_text().encode()
    (tmp_path / "params.yaml").write_bytes(before)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["configure", "--", text])
    if sound:
        configure.main()
        assert (tmp_path / "params.yaml").read_bytes() != before
        return
    with pytest.raises(UserError) as raised:
        configure.main()
    assert all("\n" not in line or text in line for line in raised.value.problems)
    assert (tmp_path / "params.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


PRESETS = {
    "broken": "run: [", "a list": "- 1\n", "itself": "run: &a {seeds: *a}\n", "unknown": "run: {nonsense: 1}\n",
    "a bad value": "run: {seeds: [x]}\n",
}  # fmt: skip


@pytest.mark.parametrize("contents", [*PRESETS.values(), None], ids=[*PRESETS, "a pipe"])
def test_a_preset_that_is_none_is_refused(bare, monkeypatch, contents):
    path, before = bare.folder / "presets" / "mine.yaml", bare.read("params.yaml")
    path.write_text(contents) if contents is not None else os.mkfifo(path)
    monkeypatch.chdir(bare.folder)
    monkeypatch.setattr("sys.argv", ["configure", "--preset", "mine"])
    with pytest.raises(UserError):
        configure.main()
    assert bare.read("params.yaml") == before


@pytest.mark.parametrize("name", ["../params", "smoke.yaml", "sm*", "a\0b"])
def test_a_presets_name_is_one_of_those_there_are(bare, monkeypatch, name):
    monkeypatch.chdir(bare.folder)
    with pytest.raises(UserError, match="no such preset; there are: paper, smoke"):
        configure.read_preset(name)
