"""What docs/models.md and README.md show of looks at anyone's model runs, and shows what they say."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from architectures import with_tokenizer  # noqa: F401  a fixture
from closure import ROOT
from conftest import environment

TRAINED = ROOT / "data" / "model5" / "seed-0" / "export"
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")
SECTION = (ROOT / "README.md").read_text("utf-8").partition("## Your own model")[2].partition("\n## ")[0]
HERE = environment() | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def shown(text):
    """Commands of a text's consoles that need no network, with what is shown of their output."""
    consoles = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    parts = [part.partition("\n") for part in re.split(r"^\$ ", consoles, flags=re.MULTILINE)[1:]]
    return {command.partition(" #")[0].strip(): output for command, _, output in parts if "@" not in command}


def masked(line):
    """A line but for its numbers and the zones of heads, which another training has others of."""
    line = re.sub(r"inside|saturated|flat", "ZONE", re.sub(r"-?\d[\d.,]*(e[+-]\d+)?", "N", line))
    return " ".join(line.split())


COMMANDS = shown(PAGE) | shown(SECTION)


@pytest.mark.slow
@pytest.mark.skipif(not TRAINED.is_dir(), reason="Model 5 is not trained here: dvc pull or make repro")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_what_is_shown(command, tmp_path):
    (tmp_path / "data").symlink_to(ROOT / "data")
    own = command.replace("goldilocks ", f"{shlex.quote(sys.executable)} -m tools.command ", 1)
    done = subprocess.run(["bash", "-c", own], cwd=tmp_path, env=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = list(map(masked, done.stdout.splitlines()))
    for line in map(masked, COMMANDS[command].splitlines()):
        assert line in (*printed, "...")


@pytest.mark.slow
def test_the_script_runs(tmp_path, with_tokenizer):  # noqa: F811
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shutil.copytree(with_tokenizer, tmp_path / "my-model")
    shutil.copyfile(with_tokenizer / "text.txt", tmp_path / "my.txt")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"zone", "spectral_norm", "gamma_mean", "attention"} <= set(re.findall(r"\w+", done.stdout))
    assert (tmp_path / "watch" / "weights" / "step-000000.parquet").is_file()


def test_the_page_names_every_function():
    import goldilocks

    for name in goldilocks.__all__:
        assert re.search(rf"\bg\.{name}\b", PAGE), name
