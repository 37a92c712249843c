"""Nothing that comes from outside is run: no source of ours does such a thing, and what was tried does not work."""

import json
import os
import pickle
import re

import pytest
from closure import ROOT
from safetensors.numpy import save_file
from test_environment import lend_environment, make, script
from test_inputs import gpt2_tensors, local_source

from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.extract import extract
from goldilocks.checkpoints.resolve import resolve
from goldilocks.core import arrays, bpe
from goldilocks.core.cli import UserError

SOURCES = sorted(path for folder in ("stages", "goldilocks", "tools") for path in (ROOT / folder).rglob("*.py"))
ALLOWED = {
    "goldilocks/__init__.py": "importlib.import_module(_PUBLIC[name])",
    "tools/command.py": "importlib.import_module(COMMANDS[name][0])",
}
"""They import one of the few modules that they name themselves."""
REFUSED = re.compile(
    r"\b(?:import|from) (?:pickle|dill|cloudpickle|joblib|marshal|shelve|code|pty|xmlrpc|yaml)\b|read_pickle|"
    r"allow_pickle|torch\.load|_object_list|gather_object|import_module|__import__|run_path|run_module|unsafe|"
    r"(?<![.\w])(?:compile|input|breakpoint)\(|noqa:.*\bS(?:102|301|307|506|602|604|605)\b"
)
"""What could run what comes from outside, beside what the rules of ruff refuse, and leave to take those back."""


def test_no_source_runs_or_unpickles_what_it_reads():
    for path in SOURCES:
        allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), "\0")
        assert REFUSED.findall(path.read_text("utf-8").replace(allowed, "")) == [], path


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path):
    """Pickles that would make a folder, which is looked for afterwards."""
    pwned = tmp_path / "pwned"
    yield [pickle.dumps(Trap(pwned), protocol) for protocol in (0, 2, 5)]
    assert not pwned.exists()
    pickle.loads(pickle.dumps(Trap(pwned)))
    assert pwned.exists(), "the trap works"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
def test_a_pickle_is_no_checkpoint_whatever_it_is_called(tmp_path, trap, name):
    (tmp_path / "m").mkdir()
    for contents in trap:
        (tmp_path / "m" / name).write_bytes(contents)
        for where in (tmp_path / "m", tmp_path / "m" / name):
            with pytest.raises(UserError) as raised:
                extract(resolve(str(where), Client()))
            assert len(raised.value.problems) == 1


def test_a_pickle_is_no_config_no_tokenizer_and_no_table(tmp_path, trap):
    for contents in trap:
        save_file(gpt2_tensors(), tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_bytes(contents)
        with pytest.raises(UserError, match="not a JSON object"):
            extract(resolve(str(tmp_path), Client()))
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).write_bytes(contents)
        with pytest.raises(UserError, match="not a byte-level BPE tokenizer"):
            bpe.load(tmp_path)
        (tmp_path / "x.safetensors").write_bytes(contents)
        with pytest.raises(UserError, match="not a sound safetensors file"):
            arrays.read(tmp_path / "x.safetensors")


HOSTILE = [
    "$(touch pwned)", "; `touch pwned`", "$(shell touch pwned)", "$$(touch pwned)", "\"; touch pwned; '; touch pwned",
    "${HOME} * > pwned", "x\n touch pwned\\x", "' --help '",
]  # fmt: skip
TARGETS = {
    "repro": (("PRESET", "SET", "JOBS"), "<-m><tools.run><--preset={0}><--set={0}><--jobs={0}>make"),
    "verify": (("VERIFY",), "<-m><tools.verify><--only><a  b><$(touch><pwned)><`touch><pwned`;touch><pwned>"),
    "bench": (("BENCH",), "<-m><tools.bench><--only><a  b><$(touch><pwned)><`touch><pwned`;touch><pwned>"),
}


@pytest.mark.parametrize("typed", [True, False], ids=["as arguments", "in the environment"])
def test_make_hands_on_what_it_is_given_as_it_is(project, typed):
    lend_environment(project)
    script(project.folder / ".venv" / "bin" / "python", "printf '<%s>' \"$@\"; exit 3")
    options = "--only 'a  b' $(touch pwned) `touch pwned`;touch pwned"
    for target, (names, expected) in TARGETS.items():
        for text in HOSTILE if target == "repro" else [options]:
            given = dict.fromkeys(names, text)
            arguments = [f"{name}={value}" for name, value in given.items()]
            done = make(project, target, *arguments) if typed else make(project, target, **given)
            assert expected.format(text) in done.stdout
            assert done.returncode != 0
    assert not list(project.folder.rglob("pwned"))


@pytest.mark.slow
def test_a_source_with_any_name_is_a_folder_to_dvc_and_nothing_more(project, tmp_path):
    source = local_source(tmp_path / 'it\'s; touch pwned $(touch pwned) "quoted"\nand in two lines')
    project.configure(f"inputs.source={json.dumps(str(source))}")
    project.check("dvc", "repro", "inputs")
    assert (project.folder / "data" / "inputs" / "corpus.txt").is_file()
    assert not [*project.folder.rglob("pwned"), *tmp_path.rglob("pwned")]
