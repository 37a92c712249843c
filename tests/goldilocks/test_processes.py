"""A long computation among other processes, with real ones."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from conftest import ROOT

from goldilocks.core import processes
from goldilocks.core.cli import UserError


def python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **options)


def test_a_lock_is_held_by_one_waited_for_and_freed_by_a_kill(tmp_path, capsys):
    path = tmp_path / "deep" / "x.lock"
    code = "import sys; from pathlib import Path; from goldilocks.core.processes import exclusive\n"
    code += f"with exclusive(Path({str(path)!r}), 'it'): print('held', flush=True); sys.stdin.read()"
    holder = python(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    running = rf"x\.lock: it is already running \(process {holder.pid}\)"
    with pytest.raises(UserError, match=running), processes.exclusive(path, "it", patience=0.2):
        pass
    assert capsys.readouterr().err == f"it: waiting for process {holder.pid}, which holds {path}\n"
    threading.Timer(0.3, holder.kill).start()
    with processes.exclusive(path, "it", patience=20):
        assert path.read_text() == f"{os.getpid()}\n"
    holder.wait()


def test_signals_are_wishes_until_a_second_ctrl_c_of_a_person(monkeypatch):
    with processes.StopRequest().listening() as stop:
        assert not stop
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert stop.signal == signal.SIGTERM
        monkeypatch.setattr(processes, "IMPATIENCE", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as raised:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        assert raised.value.code == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("shell", [False, True])
def test_work_ends_with_whoever_started_it_directly_or_through_a_shell(shell):
    work = "import time; from goldilocks.core.processes import end_with_owner; end_with_owner(); "
    work += "print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", work]
    told = f"{shlex.join(command)}; true" if shell else command
    code = f"import subprocess; subprocess.run({told!r}, shell={shell})"
    owner = python(code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout.readline() == "ready\n"
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(family) == 1 + shell
    owner.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    owner.wait()
    assert not alive
