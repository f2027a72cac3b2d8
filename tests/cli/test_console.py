from __future__ import annotations

import pytest
from rich.table import Table
from rich.text import Text

from transferflow.cli.console import errors, output
from transferflow.cli.main import main

HOSTILE = "a\x1b[2J\u202eb https://me:hunter2@host/x"


@pytest.mark.parametrize("console", [output, errors])
def test_nothing_that_is_printed_steers_the_terminal_or_leaks(console, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = Table(HOSTILE)
    table.add_row(HOSTILE)
    for thing in (HOSTILE, Text(HOSTILE, style="bold red"), table):
        console().print(thing)
        captured = capsys.readouterr()
        shown = captured.out + captured.err
        assert r"a\x1b[2J\u202eb" in shown
        assert "hunter2" not in shown
        assert not set(shown) & set("\x1b\u202e")


def test_colours_are_kept(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    output().print(Text("red\x1b[0m", style="red"))
    assert capsys.readouterr().out == "\x1b[31mred\\x1b[0m\x1b[0m\n"


def test_a_traceback_is_printed_through_the_console(monkeypatch, capsys):
    path = "no\x1b[2Jthing.yaml"
    assert main(["--debug", "plan", path]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "command", [["run", "x.yaml"], ["plan", "x.yaml"], ["deploy", "x"], ["predict", "m", "i"]]
)
def test_a_password_is_refused_on_the_command_line(command, capsys):
    assert main([*command, "--tracking-uri", "https://me:hunter2@host"]) == 2
    shown = capsys.readouterr().err
    assert "MLFLOW_TRACKING_USERNAME" in shown
    assert "hunter2" not in shown
