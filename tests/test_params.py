import ast
import inspect
import itertools

import pytest
from pydantic import Field

from stages import check
from stages.common import params
from stages.common.cli import UserError
from stages.config.run import RootSeed

# (what to set, what the one line must say)
BAD = [
    ({"nonsense": {"a": 1}}, "params.yaml: nonsense = {'a': 1}: unknown key; allowed here: run, inputs"),
    ({"train.widht": 128}, "train.widht = 128: unknown key; did you mean 'width'?"),
    ({"train.width": "128"}, "train.width = '128': must be a valid integer"),
    ({"train.width": 128.5}, "train.width = 128.5: must be a valid integer"),
    ({"train.steps": True}, "train.steps = True: must be a valid integer"),
    ({"train.learning_rate": "1e-3"}, "train.learning_rate = '1e-3': must be a valid number"),
    ({"train.learning_rate": float("nan")}, "train.learning_rate = nan: must be"),
    ({"train.learning_rate": float("inf")}, "train.learning_rate = inf: must be"),
    ({"train.learning_rate": -1.0}, "train.learning_rate = -1.0: must be greater than 0"),
    ({"train.heads": 5}, "train.heads = 5: must divide width = 128"),
    ({"ablate.heads": 5}, "ablate.heads = 5: must divide width = 128"),
    ({"ablate.probe_windows": 100}, "ablate.probe_windows = 100: must be at most evaluation_windows = 48"),
    ({"ablate.rates": [0.0]}, "ablate.rates = [0.0]: every rate must lie above 0 and at most at 10"),
    ({"ablate.rates": [0.1, 0.1]}, "ablate.rates = [0.1, 0.1]: no rate may stand twice"),
    ({"ablate.learning_rate": 0.1}, "ablate.learning_rate = 0.1: unknown key"),
    ({"train.snapshot_every": 0}, "train.snapshot_every = 0: must be greater than or equal to 1"),
    ({"train.probe_windows": 100}, "train.probe_windows = 100: must be at most evaluation_windows = 48"),
    ({"matrices.last_dimension": 1}, "matrices.last_dimension = 1: must be greater than matrices.first_dimension = 2"),
    ({"layernorm.gamma_to": 0.1}, "layernorm.gamma_to = 0.1: must be greater than layernorm.gamma_from = 0.2"),
    ({"run.seeds": []}, "run.seeds = []"),
    ({"run.seeds": [1, 1]}, "run.seeds = [1, 1]: no seed may stand twice"),
    ({"run.seeds": [-1]}, "run.seeds = [-1]: every seed must lie in 0"),
    ({"run.seeds": 3}, "run.seeds = 3: must be a valid list"),
    ({"run.arithmetic": "exact"}, "run.arithmetic = 'exact': must be 'portable' or 'native'"),
    ({"train.threads": 0}, "train.threads = 0: must be greater than or equal to 1"),
    ({"train.device": "cuda"}, "train.device = cuda: has no portable arithmetic; set run.arithmetic=native with it"),
    ({"train.precision": "bf16"}, "train.precision = bf16: has no portable arithmetic"),
    ({"train.threads": 2}, "train.threads = 2: has no portable arithmetic"),
    ({"run.root_seed": -1}, "run.root_seed = -1: must be greater than or equal to 0"),
    ({"tokens.train_share": 1.0}, "tokens.train_share = 1.0: must be less than 1"),
    ({"sweep.trials": 1}, "sweep.trials = 1: must be greater than or equal to 2"),
    ({"formats.widest": 100}, "formats.widest = 100: must be a power of two"),
    ({"formats.appears": 0.0}, "formats.appears = 0.0: must be greater than 0"),
    ({"inputs.revision": "main"}, "inputs.revision = 'main'"),
    ({"inputs.subpackages": ["../x"]}, "inputs.subpackages = ['../x']: every entry must be the name of a subpackage"),
    ({"inputs.source": "no/such/place"}, "inputs.source = 'no/such/place': neither 'embedded' nor 'hub'"),
    ({"train": None}, "train = None: must be a mapping"),
    ({"train.prompt": ""}, "train.prompt = ''"),
    (
        {"inputs.checkpoints": ["http://host/m.safetensors?signature=x"]},
        "what follows ? may be a signature, and dvc.lock",
    ),
    ({"inputs.source": "."}, "inputs.source = '.': must not hold the project's folder"),
    ({"inputs.source": "reports/figures"}, "must not hold the project's folder nor lie in data/ or reports/"),
]


def changed(project, changes):
    """Write params.yaml with entries set, or removed where the value is DELETE."""
    from ruamel.yaml import YAML

    path = project.folder / "params.yaml"
    yaml = YAML()
    tree = yaml.load(path.read_text("utf-8"))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place[section]
        if value is DELETE:
            del place[last]
        else:
            place[last] = value
    with path.open("w", encoding="utf-8") as handle:
        yaml.dump(tree, handle)
    return path


DELETE = object()


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
    path = changed(bare, {"train.width": DELETE, "sweep": DELETE, "run.seeds": [], "tokens.context_length": 1})
    found = lines(path, monkeypatch)
    assert "params.yaml: train.width is missing" in found
    assert "params.yaml: sweep is missing" in found
    assert len(found) == 4


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"", "must be a mapping"),
        (b"- 1\n", "must be a mapping"),
        (b"a: [1\n", "not valid YAML"),
        (b"run:\n\tseeds: 1\n", "not valid YAML"),
        (b"run: 1\nrun: 2\n", "not valid YAML"),
        (b"a: \xff\n", "not UTF-8"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: !!bool x\n", "not valid YAML"),
        (b"[" * 5000, "not valid YAML"),
        (b"!!python/object/apply:os.system [true]\n", "not valid YAML"),
    ],
)
def test_what_is_not_a_parameter_file_is_told_in_one_line(tmp_path, contents, said):
    path = tmp_path / "params.yaml"
    path.write_bytes(contents)
    with pytest.raises(UserError, match=said) as raised:
        params.read(path)
    assert len(raised.value.problems) == 1
    assert "\n" not in str(raised.value)


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


def test_the_command_line_exits_with_2_and_nothing_is_computed_or_deleted(rebuilt):
    changed(rebuilt, {"train.heads": 5, "sweep.trials": 1})
    before = {path: path.read_bytes() for path in rebuilt.folder.glob("data/**/*") if path.is_file()}
    for stage in ("check", "sweep"):
        done = rebuilt.stage(stage)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "error: params.yaml: sweep.trials = 1: must be" in done.stderr
    refused = rebuilt.run("dvc", "repro")
    assert refused.returncode != 0
    assert "error: params.yaml: train.heads = 5: must divide width = 32" in refused.stderr
    assert {path: path.read_bytes() for path in rebuilt.folder.glob("data/**/*") if path.is_file()} == before


def test_another_version_than_the_pinned_one_is_refused(project):
    lock = project.folder / "requirements.lock"
    lock.write_text(lock.read_text().replace("\nnumpy==", "\nnumpy==9.", 1))
    done = project.stage("check")
    assert done.returncode == 2
    assert "requirements.lock: pins numpy 9." in done.stderr
    assert not (project.folder / "data").exists()


def documented(model):
    """The fields that are followed by a docstring in the source of a section, in those of its bases too."""
    found = set()
    for of in model.__mro__[: model.__mro__.index(params.Section)]:
        (declared,) = ast.parse(inspect.getsource(of)).body
        for field, after in itertools.pairwise(declared.body):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                found.add(field.target.id)
    return found


def test_params_are_documented_and_commented(bare):
    for name, field in check.Params.model_fields.items():
        assert documented(field.annotation) == set(field.annotation.model_fields), name
    entries = [line for line in bare.read("params.yaml").splitlines() if line.startswith("  ") and ":" in line]
    entries = [line for line in entries if not line.strip().startswith("#")]
    assert len(entries) > 40
    assert all(" # " in line for line in entries)
