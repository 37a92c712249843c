"""The committed state in a folder of its own, where stages are run without any cache."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.common import cli, files
from stages.verification.dvc_files import LOCK

STAGE = re.compile(r"^Running stage '(.+)':$")
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
        raise failure(" ".join(command), (done.stderr or done.stdout).splitlines())
    return done.stdout


def failure(what: str, lines: Sequence[str]) -> cli.UserError:
    """The error that a command failed, with the last lines that it printed."""
    return cli.UserError(f"could not verify: {what} failed; it printed:", *lines[-LAST_LINES:])


class Clone:
    """A clone of a repository that commands are run in.

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

    def rebuild(self, targets: Sequence[str] = (), lock: Path = LOCK) -> None:
        """Make stages and what they need, as if none that `lock` records had ever been made.

        Args:
            targets: the stages; all of the pipeline, if none is named.
            lock: the file that is to record them.

        Raises:
            UserError: if one fails, with what was printed last.
        """
        files.remove(self.folder / lock)
        command = ["python", "-m", "stages.run", *targets]
        start, lines = time.monotonic(), []
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if found := STAGE.match(lines[-1]):
                    print(f"rebuilding, {time.monotonic() - start:.0f} s: {found[1]}", file=sys.stderr, flush=True)
        except BaseException:
            end(process)
            raise
        if process.wait():
            raise failure(" ".join(command), lines)


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process and all that it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
