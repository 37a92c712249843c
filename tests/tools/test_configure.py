"""What a user sets, by a preset or one value at a time: an edit of params.yaml, or refused with nothing written."""

import re

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


def test_an_edit_keeps_everything_else_and_can_be_taken_back():
    there = configure.edited(TEXT, {"run.seeds": [0, 1, 2, 3], "run.threads": 16})
    assert there == TEXT.replace("[0, 1]", "[0, 1, 2, 3]").replace("threads: 2", "threads: 16")
    assert configure.edited(there, {"run.seeds": [0, 1], "run.threads": 2}) == TEXT
    assert configure.edited(TEXT, {"train.rate": 1.0e-3, "run.threads": 2}) == TEXT
    below = TEXT.replace(
        "[0, 1] # which",
        """
    - "0"
    - '1' # which""",
    )
    assert configure.edited(below, {"run.seeds": ["0", "1"]}) == below
    assert configure.edited(below, {"run.seeds": [2]}) == re.sub(r'- "0"\s+- .1. #', "[2] #", below)
    for value in ("a # b", "a: b", "The ", "", "x, y", "https://x.org/[y]?z=#1", "[1]", "null", "-"):
        for name, known in (("train.prompt", value), ("run.seeds", [value, 'a "quotation"'])):
            written = configure.params.parse(configure.edited(TEXT, {name: known}))
            assert dict(configure.leaves(written))[name] == known


def test_a_key_that_does_not_exist_is_refused_and_arguments_are_quoted_as_in_a_shell():
    with pytest.raises(UserError, match=r"run\.x: no such parameter; run has: seeds, threads"):
        configure.edited(TEXT, {"run.x": 1})
    assert configure.split_args("'a=/my folder' b=[0]\n c=$(x)") == ["a=/my folder", "b=[0]", "c=$(x)"]
    with pytest.raises(UserError, match=r"SET=.*No closing quotation"):
        configure.split_args("a='b")


def test_single_values_are_put_over_those_of_a_preset(bare):
    before = dict(configure.leaves(configure.params.parse(bare.read("params.yaml"))))
    preset = dict(configure.leaves(configure.params.read(bare.folder / "presets/smoke.yaml")))
    bare.configure("run.seeds=[4]", "train.learning_rate=2.0e-3", preset="smoke")
    after = dict(configure.leaves(configure.params.parse(bare.read("params.yaml"))))
    assert after == before | preset | {"run.seeds": [4], "train.learning_rate": 2e-3}


# What a user writes after SET, and whether it is a change that keeps the file sound.
GOOD = ["run.seeds=[3]", "report.title='a b'", "train.learning_rate=1e-5", "run.seeds=[0x10]", "train.prompt=a # b"]
BAD = [
    "seeds", "=1", "run.=1", "run.seeds=[0", ".x=1", "train.heads=5",
    'report.title="a\\0b"', "report.title=\udcff", "run.seeds.0=1", "run=1", "nope.x=1",
    "run.\x1b=1", "report.title='", "train.compile=1", "run.seeds=[1,1]", "run.seeds=!!python/name:os.system",
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


@pytest.mark.parametrize("contents", ["run: [", "- 1\n", "run: {nonsense: 1}\n", "run: {seeds: [x]}\n"])
def test_a_preset_that_is_none_is_refused(bare, monkeypatch, contents):
    before = bare.read("params.yaml")
    (bare.folder / "presets" / "mine.yaml").write_text(contents)
    assert bare.here("tools.configure", "--preset", "mine").returncode == 2
    assert bare.read("params.yaml") == before
    monkeypatch.chdir(bare.folder)
    for name in ("../params", "smoke.yaml"):
        with pytest.raises(UserError, match="no such preset; there are: mine, paper, smoke"):
            configure.read_preset(name)
