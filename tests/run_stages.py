"""Run stages one after another in one process: importing torch takes seconds, and half a minute under emulation.

example: python ../tests/run_stages.py matrices "train 0"
"""

import importlib
import os
import sys
from pathlib import Path


def run_all(commands):
    for command in commands:
        name, *arguments = command.split()
        module = importlib.import_module(f"stages.{name}")
        sys.argv = [name, *arguments]
        importlib.import_module("goldilocks.core.cli").run(module.main)


def run_in(folder, log, commands):
    """Run them in a project's folder; what they print goes to a file."""
    os.chdir(folder)
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    run_all(commands)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as `python -m` does
    run_all(sys.argv[1:])
