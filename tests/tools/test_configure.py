import pytest

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


@pytest.mark.parametrize("text", ["seeds", "=1", "run.=1", "run.seeds=[0", ".x=1"])
def test_bad_assignments_are_refused(text):
    with pytest.raises(UserError):
        list(configure.assignments([text]))


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


def test_an_unsound_result_is_not_written(bare):
    before = bare.read("params.yaml")
    done = bare.here("tools.configure", "train.heads=5", "run.seeds=[]")
    assert done.returncode == 2
    assert "train.heads = 5: must divide" in done.stderr
    assert "params.yaml is left as it was" in done.stderr
    assert bare.read("params.yaml") == before
    unknown = bare.here("tools.configure", "--preset", "nonsense")
    assert unknown.returncode == 2
    assert "there are: paper, smoke" in unknown.stderr


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
