"""The committed state in a folder of its own, and every stage run there from nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.common import cli

STAGE = re.compile(r"^Running stage '(.+)':$")
LAST_LINES = 12  # of what a command that failed printed


def environment(folder: Path) -> dict[str, str]:
    """The environment with this interpreter first on PATH, and no configuration or cache of DVC from outside."""
    own = folder / "dvc settings"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    shut = dict.fromkeys(("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"), str(own))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))}
    quiet = {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}
    return kept | {"PATH": path, "PYTHONPATH": ""} | quiet | shut


def output_of(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, progress: bool = False
) -> str:
    """What a command prints; what it tells of its progress, on stderr, passes through if asked for.

    Raises:
        UserError: if it fails, with its last lines.
    """
    errors = None if progress else subprocess.PIPE
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode:
        raise failure(" ".join(command), (done.stderr or done.stdout).splitlines())
    return done.stdout


def failure(what: str, lines: Sequence[str]) -> cli.UserError:
    """The error that a command failed, with the last lines that it printed."""
    return cli.UserError(f"could not verify: {what} failed; it printed:", *lines[-LAST_LINES:])


def clone(source: Path, folder: Path) -> tuple[Path, str]:
    """What is committed in `source`, in `folder`/clone; returns that and the commit.

    Raises:
        UserError: if `source` is not in a git repository with a commit.
    """
    target = folder / "clone"
    commit = output_of(["git", "rev-parse", "HEAD"], source).strip()
    output_of(["git", "clone", "--quiet", "--no-checkout", str(source), str(target)], folder)
    output_of(["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit], target)
    return target, commit


class Clone:
    """A clone that commands are run in."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, env

    def run(self, *command: str, progress: bool = False) -> str:
        """What a command prints there; see `output_of`."""
        return output_of(command, self.folder, self.env, progress)

    def configure(self, assignments: Sequence[str], preset: str = "") -> None:
        """Set parameters, as `make repro PRESET=… SET=…` does."""
        self.run("python", "-m", "stages.configure", *(["--preset", preset] if preset else []), "--", *assignments)

    def rebuild(self, targets: Sequence[str], expected: int, single: bool = False) -> None:
        """Run stages, and unless `single` all that they need, without any cache; tells on stderr which one runs.

        Raises:
            UserError: if one fails, with its name and what it printed last.
        """
        command = ["dvc", "repro", "--force", "--no-run-cache", *(["--single-item"] if single else []), *targets]
        start, lines, stages = time.monotonic(), [], []
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                found = STAGE.match(lines[-1])
                if found:
                    stages.append(found[1])
                    note = f"{time.monotonic() - start:.0f} s: {found[1]}, {len(stages)} of {expected}"
                    print(f"rebuilding, {note}", file=sys.stderr, flush=True)
        except BaseException:
            end(process)
            raise
        if process.wait():
            raise failure(f"stage {stages[-1]}" if stages else "dvc repro", lines)


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process and all that it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
