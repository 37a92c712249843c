"""The import contracts in pyproject.toml, which `make lint` checks, refuse what they should and name every stage."""

import re
import shutil
import subprocess
import tomllib

import pytest
from closure import ROOT
from conftest import environment
from ruamel.yaml import YAML

RULES = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in RULES["contracts"]}
TORCHED = {"check", "train", "ablate", "rate", "control"}  # check asks the hardware, where a GPU or bf16 is asked for

# (module, a line added to it, what that imports, the contracts it breaks)
FORBIDDEN = [
    ("stages/logits.py", "def f(): import stages.dynamics", "stages.dynamics", ("stages",)),
    ("stages/sweep.py", "import tools.run", "tools.run", ("layers",)),
    ("goldilocks/core/files.py", "import goldilocks.stats.seeds", "goldilocks.stats.seeds", ("library",)),
    ("stages/layernorm.py", "def f(): import torch", "torch", ("torch", "without-torch")),
    ("stages/dynamics.py", "import goldilocks.model5.model", "goldilocks.model5.model", ("without-torch",)),
    ("stages/claims.py", "from matplotlib.figure import Figure", "matplotlib", ("matplotlib",)),
]
UNPLACED = "goldilocks/new.py"  # a module that has no place among the layers


def dotted(path):
    return path.removesuffix(".py").replace("/", ".")


def broken(folder):
    """What `lint-imports` says of each contract that a tree breaks, by the contract's id."""
    done = subprocess.run(
        ["lint-imports", "--no-cache", "--no-logo"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    names = {contract["name"]: name for name, contract in CONTRACTS.items()}
    parts = re.split(r"^(\S.*)\n-+\n", done.stdout, flags=re.MULTILINE)
    found = {names[title]: said for title, said in zip(parts[1::2], parts[2::2], strict=True) if title in names}
    assert done.returncode == (1 if found else 0), done.stdout + done.stderr
    return found


@pytest.mark.slow
def test_forbidden_imports_break_their_contracts(tmp_path):
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for package in RULES["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / UNPLACED).touch()
    for path, line, _, _ in FORBIDDEN:
        with (tmp_path / path).open("a", encoding="utf-8") as handle:
            handle.write(f"\n{line}\n")
    found = broken(tmp_path)
    assert found.keys() == CONTRACTS.keys(), "every contract is seen to bite"
    for path, line, imported, contracts in FORBIDDEN:
        assert all(f" {dotted(path)} -> {imported} " in found[contract] for contract in contracts), (path, line)
    assert f"- {dotted(UNPLACED)}\n" in found["library"]


def test_the_contracts_name_every_stage_that_does_not_train():
    stages = {
        name
        for pipeline in ("dvc.yaml", "ablations/dvc.yaml")
        for name in YAML(typ="safe").load((ROOT / pipeline).read_text("utf-8"))["stages"]
    }
    named = {name.removeprefix("stages.") for name in CONTRACTS["without-torch"]["source_modules"]}
    assert stages - TORCHED - {"code", "summarize_ablations"} <= named, "these two import `runs`, which trains, too"
