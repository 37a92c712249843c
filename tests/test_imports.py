"""Which module may import which: the contracts in pyproject.toml hold, bite, and name every stage."""

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

# (module, a line added to it, the contracts it breaks)
FORBIDDEN = {
    "a stage imports another": ("stages/sweep.py", "from stages import softmax", {"layers"}),
    "a stage imports another inside a function": ("stages/logits.py", "def f(): import stages.dynamics", {"layers"}),
    "a stage imports check": ("stages/sweep.py", "from stages.check import validated", {"layers", "without-torch"}),
    "common imports a package": ("stages/common/files.py", "import stages.survey.header", {"layers"}),
    "settings import their stage": ("stages/config/sweep.py", "from stages import sweep", {"layers"}),
    "a package imports a stage": ("stages/evidence/judge.py", "from stages.claims import told", {"layers"}),
    "two packages side by side": ("stages/drawing/style.py", "import stages.survey.header", {"layers"}),
    "the library imports a stage": ("goldilocks/softmax/zone.py", "import stages.goldilocks", {"library"}),
    "a module that has no place": ("stages/new.py", "import math", {"layers"}),
    "torch in a stage": ("stages/layernorm.py", "def f(): import torch", {"torch", "without-torch"}),
    "torch in a command": ("stages/keep.py", "import torch", {"torch"}),
    "torch by way of another": ("stages/dynamics.py", "import stages.model5.model", {"without-torch"}),
    "matplotlib in a stage": ("stages/claims.py", "from matplotlib.figure import Figure", {"matplotlib"}),
    "the pipeline imports a benchmark": ("stages/tidy.py", "import benchmarks.costs", {"around"}),
}


def broken(folder):
    """The ids of the contracts that a tree breaks, as `lint-imports` tells."""
    done = subprocess.run(
        ["lint-imports", "--no-cache", "--no-logo"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    found = {
        name
        for name, rule in CONTRACTS.items()
        if re.search(rf"^{re.escape(rule['name'])}\s*BROKEN", done.stdout, re.M)
    }
    assert done.returncode == (1 if found else 0), done.stdout + done.stderr
    return found


def test_every_contract_is_kept():
    assert broken(ROOT) == set()


@pytest.mark.parametrize(("path", "line", "contracts"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(tmp_path, path, line, contracts):
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for package in RULES["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / path).open("a", encoding="utf-8") as handle:
        handle.write(f"\n{line}\n")
    assert broken(tmp_path) == contracts


def test_every_contract_is_seen_to_bite():
    assert {contract for _, _, broken in FORBIDDEN.values() for contract in broken} == set(CONTRACTS)


def test_the_contracts_name_every_stage():
    stages = {
        name
        for pipeline in ("dvc.yaml", "ablations/dvc.yaml")
        for name in YAML(typ="safe").load((ROOT / pipeline).read_text("utf-8"))["stages"]
    } - {"code"}  # a module of the package `ablation`
    (layer,) = [layer.split(" | ") for layer in CONTRACTS["layers"]["layers"] if "matrices" in layer]
    assert set(layer) == stages - {"check"}
    assert stages - TORCHED <= {name.removeprefix("stages.") for name in CONTRACTS["without-torch"]["source_modules"]}
