"""A clone of the committed state, in which stages run without any cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from goldilocks.core import cli, files
from goldilocks.core.dvc_files import LOCK

LAST_LINES = 12  # of what a command that failed printed
OWN_CACHE = "[cache]\n    dir = cache\n"  # beside this file, whatever the committed configuration names


def environment(folder: Path) -> dict[str, str]:
    """The environment with this interpreter first on PATH, and no configuration or cache of DVC from outside."""
    own = folder / "dvc settings"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    shut = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"), str(own))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
    return kept | {"PATH": path, "PYTHONPATH": ""} | quiet | shut


def output_of(command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises:
        UserError: if it fails, with its last lines.
    """
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines()
        raise cli.UserError(f"could not verify: {' '.join(command)} failed; it printed:", *lines[-LAST_LINES:])
    return done.stdout


class Clone:
    """A clone of a repository to run commands in.

    Args:
        source: the repository.
        folder: where the clone is put; settings of DVC are kept beside it.
        commit: what is checked out.

    Raises:
        UserError: if git can't clone it.
    """

    def __init__(self, source: Path, folder: Path, commit: str) -> None:
        self.folder, self.env = folder, environment(folder.parent)
        output_of(["git", "clone", "--quiet", "--no-checkout", str(source), str(folder)], folder.parent)
        self.run("git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit)
        files.write_text(folder / ".dvc/config.local", OWN_CACHE)

    def run(self, *command: str) -> str:
        """What a command prints there; see `output_of`."""
        return output_of(command, self.folder, self.env)

    def rebuild(self, targets: Sequence[str] = ()) -> None:
        """Make stages and what they need, all if none is named, as if none had ever been made.

        What they print goes to stderr.

        Raises:
            UserError: if one fails.
        """
        files.remove(self.folder / LOCK)
        command = ["python", "-m", "tools.run", *targets]
        if subprocess.run(command, cwd=self.folder, env=self.env, stdout=sys.stderr).returncode:
            raise cli.UserError("could not verify: the rebuild failed; the lines above say why")
