"""What `params.yaml` may hold: anything else is refused in a line for each problem, and nothing else happens."""

import json
import os
import re

import pytest
from last_commit import params_text
from pydantic import Field
from ruamel.yaml import YAML

from goldilocks.config.run import RootSeed
from goldilocks.core import params
from goldilocks.core.cli import UserError
from stages import check

# (what to set, what the one line must say)
BAD = [
    ({"nonsense": {"a": 1}}, "params.yaml: nonsense = {'a': 1}: unknown key; allowed here: run, inputs"),
    ({"train.widht": 128}, "train.widht = 128: unknown key; did you mean 'width'?"),
    ({"train": None}, "train = None: must be a mapping"),
    ({"train.steps": True}, "train.steps = True: must be a valid integer"),
    ({"train.learning_rate": float("nan")}, "train.learning_rate = nan: must be"),
    ({"train.heads": 5}, "train.heads = 5: must divide width = 128"),
    ({"train.threads": 2}, "train.threads = 2: has no portable arithmetic; set run.arithmetic=native with it"),
    ({"train.device": "cuda"}, "train.device = cuda: has no portable arithmetic"),
    ({"train.precision": "bf16"}, "train.precision = bf16: has no portable arithmetic"),
    ({"ablate.probe_windows": 100}, "ablate.probe_windows = 100: must be at most evaluation_windows = 48"),
    ({"ablate.rates": [0.0]}, "ablate.rates = [0.0]: every rate must lie above 0 and at most at 10"),
    ({"ablate.rates": [0.1, 0.1]}, "ablate.rates = [0.1, 0.1]: no rate may stand twice"),
    ({"ablations.conditions": ["scaled", "scalde"]}, "no such condition: scalde; there are: scaled, scaled_wide"),
    ({"ablations.conditions": ["unscaled"]}, "must hold 'scaled'"),
    ({"ablations.conditions": ["scaled", "scaled"]}, "no condition may stand twice"),
    ({"matrices.last_dimension": 1}, "matrices.last_dimension = 1: must be greater than matrices.first_dimension = 2"),
    ({"layernorm.gamma_to": 0.1}, "layernorm.gamma_to = 0.1: must be greater than layernorm.gamma_from = 0.2"),
    ({"run.seeds": [1, 1]}, "run.seeds = [1, 1]: no seed may stand twice"),
    ({"run.seeds": [-1]}, "run.seeds = [-1]: every seed must lie in 0"),
    ({"run.arithmetic": "exact"}, "run.arithmetic = 'exact': must be 'portable' or 'native'"),
    ({"goldilocks.widest": 100}, "goldilocks.widest = 100: must be a power of two"),
    ({"goldilocks.exponents": 24}, "goldilocks.exponents = 24: must be odd"),
    ({"goldilocks.lengths": [16, 1]}, "goldilocks.lengths.1 = 1: must be greater than or equal to 2"),
    ({"goldilocks.lengths": [16, 16]}, "no number may stand twice"),
    ({"goldilocks.correlations": [0.0, 1.1]}, "goldilocks.correlations.1 = 1.1: must be less than"),
    ({"goldilocks.correlations": [0.1, 0.1000000001]}, "no number may stand twice"),
    ({"goldilocks.least_discrimination": 16.0}, "must be less than the shortest of goldilocks.lengths, 16"),
    ({"report.title": "a\nb"}, "report.title = 'a\\nb'"),
    ({"inputs.revision": "main"}, "inputs.revision = 'main'"),
    ({"inputs.subpackages": ["../x"]}, "inputs.subpackages.0 = '../x': String should match pattern"),
    ({"inputs.checkpoints": ["http://host/m?signature=x"]}, "what follows ? may be a signature, and dvc.lock"),
    ({"inputs.source": "no/such/place"}, "inputs.source = 'no/such/place': neither 'embedded' nor 'hub'"),
    ({"inputs.source": "."}, "inputs.source = '.': must not hold the project's folder"),
    ({"inputs.source": "reports/figures"}, "must not hold the project's folder nor lie in data/ or reports/"),
]


def changed(project, changes):
    """Write params.yaml with entries set."""
    path = project.folder / "params.yaml"
    tree = params.read(path)
    for key, value in changes.items():
        section, _, entry = key.partition(".")
        place, last = (tree[section], entry) if entry else (tree, section)
        place[last] = value
    YAML(typ="safe").dump(tree, path)
    return path


def lines(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with pytest.raises(UserError) as raised:
        check.validated()
    return raised.value.problems


@pytest.mark.parametrize(("changes", "said"), BAD, ids=[next(iter(changes)) for changes, _ in BAD])
def test_each_problem_is_one_line_with_key_value_and_what_is_allowed(bare, monkeypatch, changes, said):
    (bare.folder / "reports" / "figures").mkdir(parents=True)
    (line,) = lines(changed(bare, changes), monkeypatch)
    assert said in line
    assert "\n" not in line


def test_missing_keys_and_several_problems_at_once(bare, monkeypatch):
    path = changed(bare, {"run.seeds": [], "tokens.context_length": 1})
    tree = params.read(path)
    del tree["train"]["width"], tree["sweep"]
    path.write_text(json.dumps(tree))
    found = lines(path, monkeypatch)
    assert "params.yaml: train.width is missing" in found
    assert "params.yaml: sweep is missing" in found
    assert len(found) == 4


LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdef", "bcdefg", strict=True)
)
# (contents or what makes it, what the one line must say)
NOT_PARAMETERS = [
    (b"", "must be a mapping"),
    (b"a: [1\n", "not valid YAML"),
    (b"run: 1\nrun: 2\n", "duplicate key"),
    (b"a: \xff\n", "not UTF-8"),
    (b"a: 2001-02-31\n", "a value that can't be"),
    (b"!!python/object/apply:os.system [true]\n", "constructor for the tag"),
    (b"[" * 5000, "more than 32 collections"),
    (LAUGHS.encode(), "an alias inside a collection that has an anchor"),
    (b"# " + b"x" * 2**15, "more than 32,768 bytes"),
    (os.mkfifo, "not a file"),
    (lambda _: None, "no such file"),
    (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("made", "said"), NOT_PARAMETERS, ids=[said for _, said in NOT_PARAMETERS])
def test_what_is_not_a_parameter_file_is_told_in_one_line(tmp_path, monkeypatch, made, said):
    monkeypatch.chdir(tmp_path)
    make = params.PARAMS.write_bytes if isinstance(made, bytes) else lambda _: made(params.PARAMS)
    make(made)
    with pytest.raises(UserError, match=said) as raised:
        params.read()
    assert "\n" not in str(raised.value)


def test_the_same_parameters_may_be_written_in_other_ways(tmp_path):
    path, text = tmp_path / "params.yaml", params_text()
    contents = YAML(typ="safe").load(text)
    linked = tmp_path / "linked"
    linked.write_text(text)
    path.symlink_to(linked)
    assert params.read(path) == contents
    for other in (json.dumps(contents), text.replace("\n", "\r\n"), "\ufeff" + text, "--- # here\n" + text):
        path.write_text(other, newline="")
        assert params.read(path) == contents


def test_a_number_too_long_to_print_is_still_one_line(bare, monkeypatch):
    path = bare.folder / "params.yaml"
    path.write_text(path.read_text().replace("steps: 801", "steps: 0x" + 9000 * "f"))
    (line,) = lines(path, monkeypatch)
    assert line.startswith("params.yaml: train.steps = a huge int: ")


def test_a_stage_sees_its_own_section_and_what_it_names_of_run(tmp_path):
    class Settings(params.Section):
        x: int = Field(ge=0)

    class Run(RootSeed):
        pass

    path = tmp_path / "params.yaml"
    path.write_text("run: {root_seed: 1, seeds: broken}\nmine: {x: 2}\nother: broken\n")
    settings, run = params.load("mine", Settings, Run, path)
    assert (settings.x, run.model_dump()) == (2, {"root_seed": 1})
    path.write_text("run: {root_seed: -1}\nmine: {x: -2}\n")
    with pytest.raises(UserError) as raised:
        params.load("mine", Settings, Run, path)
    assert len(raised.value.problems) == 2


def test_the_command_line_exits_with_2_and_nothing_is_computed_or_deleted(bare):
    """Of results of a seed that is not asked for, which a sound file has removed."""
    (bare.folder / "requirements.lock").touch()
    results = bare.folder / "data" / "model5" / "seed-77"
    results.mkdir(parents=True)
    sound = bare.read("params.yaml")
    changed(bare, {"train.heads": 5, "sweep.trials": 1})
    before = sorted(bare.folder.rglob("*"))
    for stage, told in (("check", 2), ("sweep", 1)):
        done = bare.here(stage)
        assert done.returncode == 2
        assert "error: params.yaml: sweep.trials = 1: must be" in done.stderr
        assert len(done.stderr.splitlines()) == told
    assert sorted(bare.folder.rglob("*")) == before
    (bare.folder / "params.yaml").write_text(sound)
    assert bare.here("check").returncode == 0
    assert not results.exists()


# What DVC, which reads params.yaml too, says of it is its own affair; it must stop, and touch nothing.
FOR_DVC = [
    "", "a: [1\n", "a: !!python/object/apply:os.system [touch pwned]\n", 400 * "[", "a: &a [*a]\n",
    {"run.seeds": ["0; touch pwned"]}, {"run.seeds": ["../../../x"]}, {"inputs.source": "x; touch pwned"},
    {"inputs.source": "a\0b"}, {"inputs.source": "data/inputs"}, {"trian": 1}, {"train.heads": 5},
]  # fmt: skip


@pytest.mark.slow
def test_plain_dvc_repro_stops_at_a_bad_file_and_touches_nothing(rebuilt):
    before, sound = rebuilt.results(), rebuilt.read("params.yaml")
    for wrong in FOR_DVC:
        (rebuilt.folder / "params.yaml").write_text(sound if isinstance(wrong, dict) else wrong)
        if isinstance(wrong, dict):
            changed(rebuilt, wrong)
        done = rebuilt.run("dvc", "repro", "--keep-going")
        assert done.returncode != 0
        assert re.search("^error: ", done.stderr, re.MULTILINE | re.IGNORECASE), done.stderr
        assert "Traceback" not in done.stderr
        assert rebuilt.results() == before, wrong
        assert not list(rebuilt.folder.rglob("pwned"))


def test_another_version_than_the_pinned_one_is_refused(bare):
    (bare.folder / "requirements.lock").write_text("numpy==9.1\n")
    done = bare.here("check")
    assert done.returncode == 2
    assert "requirements.lock: pins numpy 9.1, installed is " in done.stderr
    assert not (bare.folder / "data").exists()


def test_every_parameter_has_a_comment():
    declared = re.findall(r"^  \w+: .+", params_text(), re.MULTILINE)
    assert len(declared) == sum(map(len, YAML(typ="safe").load(params_text()).values()))
    assert [line for line in declared if " # " not in line] == []
