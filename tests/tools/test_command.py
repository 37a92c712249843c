"""The command `goldilocks`: what it offers, and what it refuses."""

import pytest

from goldilocks.core import cli
from tools import command


def call(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["goldilocks", *arguments])
    command.main()


def test_alone_it_lists_every_command_each_has_help_and_an_unknown_one_is_refused_in_one_line(monkeypatch, capsys):
    call(monkeypatch)
    printed = capsys.readouterr().out
    assert all(f"goldilocks {name} " in printed for name in command.COMMANDS)
    with pytest.raises(SystemExit, match="0"):
        call(monkeypatch, "verify", "--help")
    assert capsys.readouterr().out.startswith("usage: goldilocks verify")
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "vreify")
    assert ended.value.code == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err.startswith("error: goldilocks has no command 'vreify'; there are:")
