"""Every recipe of docs/cookbook.md runs at the size of `smoke` and shows what it says; so does every mistake."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest
import torch
from closure import ROOT
from conftest import Project, environment
from test_environment import lend_environment, make
from test_fooling import _honest, honest  # noqa: F401  a fixture
from test_inputs import local_source

BOOK = (ROOT / "docs" / "cookbook.md").read_text("utf-8")
LAST = "If it does not start"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall(BOOK))


class Recipe(NamedTuple):
    """How a recipe is tried."""

    instead: Mapping[str, str] = MappingProxyType({})
    """Text of the block and of what it shows, and what stands there in the test: other sizes and places."""

    prepare: Callable[[Project], object] = lambda _: None
    fails: bool = False
    tried_in: str = "rebuilt"


def own_model(project):
    shutil.copytree(project.folder / "data" / "model5" / "seed-0" / "export", project.folder / "my-model")


def own_inputs(project):
    local_source(project.folder / "my-inputs")


def without_a_gpu(_):
    if torch.cuda.is_available():
        pytest.skip("what is said where there is no GPU can't be seen here")


RECIPES = {
    "Change one parameter, and see what it does": Recipe({"trials=2000": "trials=25"}),
    "See it as curves": Recipe({"file:///home/you/goldilocks/": ""}),
    "Compare two branches": Recipe({"0.001": "0.0001"}),
    "Try several values without touching the folder": Recipe({"=0.001": "=0.0001", "=0.01": "=0.001"}),
    "Add a seed": Recipe({"0,1,2,3,4,5": "0,1,5"}),
    "Survey your own model's norms": Recipe(prepare=own_model),
    "Train on your own text": Recipe(prepare=own_inputs),
    "Train on a GPU": Recipe(prepare=without_a_gpu, fails=True),
    "Add a stage": Recipe(),
    "Share a cache": Recipe({"/mnt/shared/goldilocks": "../a-remote"}),
    "Read the tables in pandas, or ask them in SQL": Recipe(),
    "Load the trained model in transformers": Recipe(),
    "Verify in your own CI": Recipe(
        {
            '"--markdown': '"--static --markdown',
            "all 40 outputs that were made again are the same bytes": "what is committed belongs together; nothing",
        },
        tried_in="honest",
    ),
}


def blocks(section: str) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block of a section."""
    yield from re.findall(r"^```(\w*)\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)


def shown(line: str, output: str) -> bool:
    """Whether the output has this line; words with digits in them, and the time of day, may be others."""
    words = (r"\S+" if re.search(r"\d|^[AP]M$", word) else re.escape(word) for word in line.split())
    return re.search(r"[ \t]+".join(words), output) is not None


def test_every_recipe_is_tried_has_one_block_and_says_what_it_shows():
    assert set(SECTIONS) == {*RECIPES, LAST}
    for name in RECIPES:
        assert [language for language, _ in blocks(name)] == ["sh", ""], name


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_and_shows_what_it_says(request, name):
    recipe = RECIPES[name]
    project = request.getfixturevalue(recipe.tried_in)
    lend_environment(project)
    recipe.prepare(project)
    project.git("commit", "-q", "--all", "--allow-empty", "-m", "at the size of smoke")
    project.git("branch", "-M", "main")
    (_, block), (_, says) = blocks(name)
    for text, other in recipe.instead.items():
        assert text in block + says, text
        block, says = block.replace(text, other), says.replace(text, other)
    done = subprocess.run(
        ["sh", "-e", "-c", block], cwd=project.folder, env=environment() | {"COLUMNS": "160"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert (done.returncode != 0) is recipe.fails, done.stdout
    for line in says.splitlines():
        assert line == "..." or shown(line, done.stdout), f"{line}\nnot in:\n{done.stdout}"


def an_archive(project, _):
    lend_environment(project)
    shutil.rmtree(project.folder / ".git")
    for target in ("repro", "verify"):
        yield make(project, target)


def another_python(project, _):
    yield project.run(sys.executable, "-S", "-m", "stages.check")


def another_folder(project, tmp_path):
    yield Project(tmp_path).run("python", "-m", "stages.check", PYTHONPATH=str(project.folder))


TRIED = {
    "no git repository here": an_archive,
    "No module named 'pydantic'": another_python,
    "params.yaml: no such file; run from the project's folder": another_folder,
}
TRIED_ELSEWHERE = {
    "is too old: Python 3.11 or newer is needed": "environment.sh",
    "has no venv module: install it": "environment.sh",
    "check the connection to the package index (proxy?) and the disk": "environment.sh",
    "check the address and the connection": "goldilocks/checkpoints/client.py",
}
OF_OTHERS = {
    "unknown Git revision 'HEAD~1'", "Git user name and email must be configured", "python: command not found",
    os.strerror(errno.ENOSPC), os.strerror(errno.EROFS),
}  # fmt: skip


def test_every_mistake_is_tried():
    assert set(re.findall(r"^\| `(.+?)` \|", SECTIONS[LAST], re.MULTILINE)) == {
        *TRIED, *TRIED_ELSEWHERE, *OF_OTHERS
    }  # fmt: skip
    for message, path in TRIED_ELSEWHERE.items():
        assert message in (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize(("message", "mistake"), TRIED.items(), ids=[mistake.__name__ for mistake in TRIED.values()])
def test_a_mistake_says_what_the_book_says(project, tmp_path, message, mistake):
    for done in mistake(project, tmp_path):
        assert done.returncode != 0
        assert message in done.stdout + done.stderr


def test_git_converts_no_line_endings(project, tmp_path):
    clone = tmp_path / "clone"
    project.git("clone", "-q", "-c", "core.autocrlf=true", str(project.folder), str(clone))
    assert b"\r" not in (clone / "environment.sh").read_bytes()
    assert project.git("-C", str(clone), "status", "--porcelain") == ""
