from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from transferflow.cli.console import errors, output, read_or_not
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


@pytest.mark.parametrize("open_pair", [os.pipe, pty.openpty])
def test_what_goes_on_though_nobody_reads_it_any_more_is_not_ended_by_that(open_pair, monkeypatch):
    """A pipe that `head` has closed; a terminal that is gone."""
    reading, writing = open_pair()
    with os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with read_or_not(sys.stdout):
            output().print("heard")
        os.close(reading)
        for _ in range(2):
            with read_or_not(sys.stdout):
                output().print("not heard")
        output().print("not heard either")


def test_other_commands_are_ended_by_it(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(OSError), os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["backbones", "list"]) == 1


def test_a_full_disk_is_no_reader_that_is_gone(monkeypatch):
    with suppress(OSError), Path("/dev/full").open("w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(OSError, match="No space left"), read_or_not(stream):
            output().print("not kept")
