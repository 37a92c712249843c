"""A parameter file that is not sound is refused in a line for each problem, soon, and nothing else happens."""

import os
import random
import socket
import sys
import time

import pytest
from bad_params import WHOLE, cases, with_value
from last_commit import params_text

from stages import check
from stages.common import cli

TEXT = params_text()
SOONEST = 1.0  # s of this process's time


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with results of a seed that no parameter file asks for, which a sound one would have removed."""
    results = tmp_path / "project" / "data" / "model5" / "seed-77"
    results.mkdir(parents=True)
    (results / "losses.parquet").write_text("kept")
    (tmp_path / "project" / "requirements.lock").write_text("")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(sys, "argv", ["check"])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return tmp_path / "project"


def state(folder):
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for path, one in found.items()}


def checked(capsys):
    """The exit code, the lines told and the seconds that it took to check params.yaml."""
    started, code = time.process_time(), 0
    try:
        cli.run(check.main)
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().err.splitlines(), time.process_time() - started


def wrong(case, code, lines, unchanged):
    """What is wrong with how a case was taken; empty if nothing."""
    if case.sound:
        return "" if (code, lines) == (0, []) else f"refused: {lines}"
    if code != 2 or not unchanged:
        return f"exit code {code}, {'nothing' if unchanged else 'something'} changed: {lines}"
    if not lines or not all(line.startswith("error: params.yaml: ") for line in lines):
        return f"told as {lines}"
    missing = [name for name in case.named if not any(name in line for line in lines)]
    beside = [line for line in lines if case.named and not any(name in line for name in case.named)]
    return f"{missing} not told, {beside} told beside it" if missing or beside else ""


def try_all(tried, folder, capsys):
    """Check every case; returns how many were sound and the longest time that a refusal took."""
    params, kept = folder / "params.yaml", folder / "data" / "model5" / "seed-77"
    failures, slowest, sound = [], 0.0, 0
    for case in tried:
        params.write_bytes(case.contents)
        kept.mkdir(exist_ok=True)
        (kept / "losses.parquet").touch()
        before = state(folder)
        code, lines, seconds = checked(capsys)
        if failure := wrong(case, code, lines, state(folder) == before):
            failures.append(f"{case.what}: {failure}")
        sound += case.sound
        if case.sound and kept.exists():
            failures.append(f"{case.what}: the results of seed 77 stay")
        slowest = max(slowest, 0.0 if case.sound else seconds)
    assert not failures, "\n".join(failures)
    return sound, slowest


@pytest.mark.parametrize(
    ("count", "seed"), [(90, 1), pytest.param(1000, 2, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_files_are_accepted_or_refused_as_what_was_changed_in_them_says(folder, capsys, count, seed):
    sound, slowest = try_all(cases(TEXT, count, seed), folder, capsys)
    assert count / 8 < sound < count / 2, "both happen"
    assert slowest < SOONEST
    print(f"{count} files: {sound} accepted, {count - sound} refused, the slowest refusal in {slowest:.2f} s")


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # a name, since a path may be too long for a socket


def a_linked_file(path):
    (path.parent / "elsewhere.yaml").write_text(TEXT)
    path.symlink_to("elsewhere.yaml")


PLACES = {
    "a folder": (lambda path: path.mkdir(), "not a file"),
    "a pipe": (os.mkfifo, "not a file"),
    "a socket": (a_socket, "not a file"),
    "a device without end": (lambda path: path.symlink_to("/dev/zero"), "not a file"),
    "nothing": (lambda _: None, "no such file"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "a huge file": (lambda path: path.touch() or os.truncate(path, 10**12), "more than 32,768 bytes"),
    "a link to a file": (a_linked_file, None),
}


@pytest.mark.parametrize(("place", "said"), PLACES.values(), ids=PLACES)
def test_whatever_lies_in_its_place(folder, capsys, place, said):
    place(folder / "params.yaml")
    before = state(folder)
    code, lines, seconds = checked(capsys)
    if said is None:
        assert (code, lines) == (0, [])
        return
    assert code == 2
    (line,) = lines
    assert line.startswith("error: params.yaml: ")
    assert said in line
    assert state(folder) == before
    assert seconds < SOONEST


def test_a_thousand_bad_values_are_a_thousand_lines_soon(folder, capsys):
    seeds = "[" + ", ".join(f"x{n}" for n in range(1000)) + "]"
    (folder / "params.yaml").write_text(with_value(TEXT, "run.seeds", seeds))
    code, lines, seconds = checked(capsys)
    assert (code, len(lines)) == (2, 1000)
    assert lines[7] == "error: params.yaml: run.seeds.7 = 'x7': must be a valid integer"
    assert seconds < SOONEST


# What DVC, which reads params.yaml too, says of it is its own affair; it must stop, and touch nothing.
FOR_DVC = [
    WHOLE[what][0](TEXT, random.Random(0))
    for what in ("nothing in it", "no mapping", "another encoding", "a section twice", "a tab", "a tag that would run",
                 "brackets", "what holds itself", "too large", "an unknown section")
] + [with_value(TEXT, key, value) for key, value in (
    ("run.seeds", "['0; touch pwned']"), ("run.seeds", "[]"), ("run.seeds", "3"), ("run.seeds", "['../../../x']"),
    ("inputs.source", "'x; touch pwned'"), ("inputs.source", '"a\\0b"'), ("inputs.source", "null"),
    ("inputs.source", "data/inputs"), ("inputs.source", "remote://x/y"), ("inputs.source", "'$(touch pwned)'"),
)]  # fmt: skip


@pytest.mark.slow
def test_plain_dvc_repro_stops_at_a_bad_file_and_touches_nothing(rebuilt):
    def results():
        return state(rebuilt.folder / "data") | state(rebuilt.folder / "reports")

    before = results(), rebuilt.read("dvc.lock")
    for contents in FOR_DVC:
        path = rebuilt.folder / "params.yaml"
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        done = rebuilt.run("dvc", "repro", "--keep-going")
        told = done.stderr.splitlines()
        assert done.returncode != 0
        assert any(line.lower().startswith("error: ") for line in told), told
        assert "Traceback" not in done.stderr
        assert (results(), rebuilt.read("dvc.lock")) == before, told
        assert not list(rebuilt.folder.rglob("pwned"))
