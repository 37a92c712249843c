"""Several requests at once: what fails or is interrupted ends them all."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from stages.common.cli import UserError
from stages.survey.client import AT_ONCE, concurrent_map


def test_what_fails_begins_nothing_more():
    begun = []

    def work(n):
        begun.append(n)
        if n == 0:
            raise UserError("no")
        time.sleep(0.02)

    with pytest.raises(UserError, match="no"):
        concurrent_map(work, range(100))
    time.sleep(0.3)
    assert len(begun) <= 3 * AT_ONCE


def test_an_interrupt_ends_it_at_once():
    code = "import time; from stages.common import cli; from stages.survey.client import concurrent_map;"
    code += "print(1, flush=True); cli.run(lambda: concurrent_map(lambda n: time.sleep(60), range(3)))"
    command = [sys.executable, "-c", code]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.stdout.readline()
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=20)[1] == "interrupted\n"
    assert started.returncode == 130
