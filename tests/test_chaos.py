"""The harness that injects faults finds what it is for: wrong results, dead ends and tracebacks."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from closure import ROOT
from conftest import environment

from chaos import __main__ as command
from chaos import mounts
from chaos.campaign import FAULTS, Campaign
from chaos.faults import contents, surroundings
from chaos.faults.fault import Fault, Injection
from chaos.project import Project, entries, results
from chaos.verdicts import HEADER, Ending, Outcome, differences, judge, table, untidiness

WELL = Ending(0, "done\n")
TOLD = Ending(2, "> python -m x\nerror: data/x: No space left on device\nmake: *** [Makefile:1: repro] Error 2\n")
BY_DVC = Ending(255, "ERROR: failed to reproduce 'sweep'\n")
SILENT = Ending(2, "make: *** [Makefile:1: repro] Error 2\n")
TRACED = Ending(2, f"Traceback (most recent call last):\n  File x\nValueError\n{BY_DVC.said}")
KILLED = Ending(-9, "Traceback (most recent ca")
HUNG = Ending(None, "waiting\n")
OFF = ["other data/x"]


@pytest.mark.parametrize(
    ("endings", "differing", "again", "remaining", "outcome"),
    [
        ([WELL], [], WELL, [], Outcome.ALONE),
        ([TOLD], OFF, WELL, [], Outcome.TOLD),
        ([BY_DVC], [], WELL, [], Outcome.TOLD),
        ([KILLED], OFF, WELL, [], Outcome.TOLD),
        ([WELL, BY_DVC], [], WELL, [], Outcome.TOLD),
        ([SILENT], OFF, WELL, [], Outcome.UNTIDY),
        ([TRACED], OFF, WELL, [], Outcome.UNTIDY),
        ([WELL._replace(said=TRACED.said)], [], WELL, [], Outcome.UNTIDY),
        ([HUNG], OFF, WELL, [], Outcome.UNTIDY),
        ([TOLD], OFF, WELL._replace(said=TRACED.said), [], Outcome.UNTIDY),
        ([WELL], OFF, WELL, [], Outcome.WRONG),
        ([WELL, TOLD], OFF, WELL, [], Outcome.WRONG),
        ([WELL], OFF, TOLD, OFF, Outcome.WRONG),
        ([TOLD], OFF, TOLD, OFF, Outcome.STUCK),
        ([TOLD], OFF, WELL, OFF, Outcome.STUCK),
        ([WELL], [], BY_DVC, [], Outcome.STUCK),
        ([WELL], [], HUNG, [], Outcome.STUCK),
        ([TRACED], OFF, TRACED, OFF, Outcome.STUCK),
    ],
)
def test_what_becomes_of_a_fault_is_judged(endings, differing, again, remaining, outcome):
    verdict = judge(endings, differing, again, remaining)
    assert verdict.outcome == outcome
    assert bool(verdict.why) == (outcome != Outcome.ALONE)


def test_an_error_is_clear_if_a_line_begins_with_it():
    assert judge([TOLD], OFF, WELL, []).why == "error: data/x: No space left on device"
    assert untidiness(Ending(1, "what an error: x")) == "exit code 1 without an error message"
    assert untidiness(Ending(1, "error:\n")) == "exit code 1 without an error message"


def test_every_difference_between_results_is_found():
    expected = {"a": "1", "b": "2", "c": "3"}
    assert differences(expected, dict(reversed(expected.items()))) == []
    assert differences({"a": "1", "b": "3", "d": "4"}, expected) == ["other b", "missing c", "extra d"]
    assert differences({"a": "1", "b": "3", "d": "4"}, expected, apart=["b", "d"]) == ["missing c"]


def test_the_table_counts_and_says_what_was_not_injected():
    lines = table({"kill": [Outcome.TOLD, Outcome.ALONE, Outcome.TOLD], "merge": [Outcome.STUCK]}, {"full": "no disk"})
    rows = [re.split(r"  +", line) for line in lines]
    assert rows[0] == list(HEADER)
    assert rows[1:3] == [["kill", "3", "1", "2", "0", "0", "0"], ["merge", "1", "0", "0", "0", "0", "1"]]
    assert lines[3].split(maxsplit=1) == ["full", "not injected: no disk"]
    assert rows[4] == ["all", "4", "1", "2", "0", "0", "1"]


def test_the_lock_file_is_read_in_whatever_order(committed):
    lock = (committed / "dvc.lock").read_text()
    head, *parts = re.split(r"^(?=  \S)", lock, flags=re.MULTILINE)
    assert entries(head + "".join(reversed(parts))) == entries(lock)
    outs = {out.path: out for out in Project(committed).outs()}
    assert outs["data/sweep.parquet"].stage == "sweep"
    assert f"md5: {outs['data/sweep.parquet'].md5}\n" in lock
    assert outs["data/model5/seed-0"].object.endswith(".dir")
    assert outs.keys() >= {"reports/index.html", "reports/figures", "data/checked"}
    assert not [path for path in outs if path.startswith("stages")]


def test_half_written_files_and_checkpoints_are_no_results(tmp_path):
    for name in ("data/a/b", "data/.c.tmp", "data/.d.tmp/e", "data/checkpoints/f", "reports/g", "other"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  b:\n    cmd: x\n  a:\n    cmd: y\n")
    assert results(tmp_path).keys() == {"data/a/b", "reports/g", "dvc.lock: a", "dvc.lock: b"}


@pytest.mark.parametrize("same_time", [True, False])
def test_damage_is_one_and_the_mode_stays(tmp_path, same_time):
    path, chance = tmp_path / "x", random.Random(3)
    for _ in range(50):
        path.unlink(missing_ok=True)
        path.write_bytes(b"contents")
        path.chmod(0o444)
        os.utime(path, ns=(10**18, 10**18))
        done = contents.damage(path, chance, same_time)
        assert path.read_bytes() != b"contents", done
        assert path.stat().st_mode & 0o777 == 0o444
        assert (path.stat().st_mtime_ns == 10**18 and path.stat().st_size == 8) == same_time


def test_pythons_clock_is_set_back_where_there_is_no_faketime(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(surroundings.PYTHON_CLOCK.format(seconds=86400))
    code = "import time; print(time.time(), time.time_ns() / 1e9)"
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment() | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    ).stdout
    assert [float(clock) for clock in printed.split()] == pytest.approx([time.time() - 86400] * 2, abs=60)


REBUILDS = {
    Outcome.ALONE: "cp good data/x",
    Outcome.TOLD: "test ! -e fault || { echo 'error: data/x: damaged'; exit 1; }; cp good data/x",
    Outcome.UNTIDY: "test ! -e fault || { echo 'Traceback (most recent call last):'; exit 1; }; cp good data/x",
    Outcome.WRONG: "test -e data/x || cp good data/x",
    Outcome.STUCK: "cmp -s good data/x || { echo 'error: data/x: damaged'; exit 1; }",
}


@contextmanager
def damaged(project, _):
    (project.folder / "data" / "x").write_text("bad")
    (project.folder / "fault").touch()
    yield Injection("data/x damaged")
    (project.folder / "fault").unlink()


@pytest.fixture
def campaign(tmp_path):
    """A campaign against a project of one file."""
    campaign = Campaign(tmp_path, "a seed", 60)
    (campaign.undisturbed / "data").mkdir(parents=True)
    for name in ("good", "data/x"):
        (campaign.undisturbed / name).write_text("good")
    campaign.expected, campaign.idle, campaign.rebuilding = results(campaign.undisturbed), 0.1, 0.1
    return campaign


@pytest.mark.parametrize("outcome", REBUILDS)
def test_a_project_that_is_not_safe_is_found_out(campaign, outcome):
    (campaign.undisturbed / "Makefile").write_text(f"repro:\n\t@{REBUILDS[outcome]}\n")
    assert campaign.inject(Fault("damaged", "", damaged), 0).outcome == outcome
    assert not campaign.arena.exists()
    assert (campaign.undisturbed / "data" / "x").read_text() == "good"


def test_faults_take_turns_until_the_time_is_up_and_one_that_cannot_be_had_is_told(campaign, monkeypatch):
    (campaign.undisturbed / "Makefile").write_text("repro:\n\t@cp good data/x\n")
    monkeypatch.delenv(mounts.INSIDE, raising=False)
    campaign.seconds = campaign.elapsed + 0.9
    campaign.run([
        Fault("first", "", damaged), Fault("second", "", damaged), Fault("long", "", damaged, rebuilds=1000),
        Fault("disk", "", damaged, mounts=True),
    ])  # fmt: skip
    counts = {name: len(found) for name, found in campaign.outcomes.items()}
    assert counts.keys() == {"first", "second"}
    assert min(counts.values()) >= 1
    assert campaign.skipped == {"disk": mounts.missing(), "long": "no time was left"}


def test_a_run_that_never_ends_is_given_up(campaign):
    (campaign.undisturbed / "Makefile").write_text("repro:\n\t@sleep 60\n")
    project = Project(campaign.undisturbed, idle=0.01)
    assert project.rebuild() == Ending(None, "")


def test_every_fault_has_a_name_of_its_own_and_is_listed(monkeypatch, capsys):
    monkeypatch.setattr(mounts, "enter", lambda: None)
    monkeypatch.delenv(mounts.INSIDE, raising=False)
    monkeypatch.setattr(sys, "argv", ["chaos", "--list"])
    command.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [fault.name for fault in FAULTS]
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(
        ("(not here: needs `unshare --mount`" in line) == fault.mounts
        for line, fault in zip(lines, FAULTS, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--minutes", "0"], "0: must be more than 0"),
        (["--minutes", "nan"], "nan: must be more than 0"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, problem, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["chaos", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "chaos", *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True
    )


@pytest.mark.slow
def test_what_is_no_copy_and_too_little_time_are_told(smoke, tmp_path):
    done = run("--built", str(tmp_path))
    assert (done.returncode, done.stderr) == (2, f"error: --built {tmp_path}: no copy of the project: no dvc.lock\n")
    done = run("--built", str(smoke.folder), "--minutes", "0.01", "--only", "kill")
    assert done.returncode == 2
    assert done.stderr.endswith("error: nothing was injected: give it more --minutes\n")
    assert "kill  not injected: no time was left" in re.sub(r"  +", "  ", done.stdout)


@pytest.mark.slow
def test_rebuilds_survive_faults(smoke):
    """A short form of `make chaos`."""
    names = ("kill", "cache-damaged", "data-damaged", "disk-full", "merge")
    only = [word for name in names for word in ("--only", name)]
    done = run("--built", str(smoke.folder), "--minutes", "1.5", "--seed", "in short", *only)
    assert done.returncode == 0, done.stdout + done.stderr
    total = done.stdout.splitlines()[-1].split()
    assert int(total[1]) == int(total[2]) + int(total[3]) >= 1
