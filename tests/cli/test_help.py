"""What a person reads who asks a command for help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from transferflow.cli.main import app, main


def _commands(command, words=()) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from _commands(below, (*words, name))


COMMANDS = list(_commands(get_command(app)))


@pytest.fixture
def help_of(monkeypatch, capsys):
    """The help of a command in a terminal of 80 columns, or on a pipe that is as wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def _help(*words):
        assert main([*words, "--help"]) == 0
        return capsys.readouterr().out

    return _help


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_shows_no_type_of_a_flag(help_of, words):
    text = help_of(*words)
    assert "bool" not in text.lower()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "  -h    " in text


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_flag_is_off_until_it_is_given(words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    flags = [option for option in command.params if getattr(option, "is_flag", False)]
    on = {"run": {"--prefect", "--wait"}, "refresh": {"--prefect"}}  # each has a `--no-…`
    assert {option.opts[0] for option in flags if option.default} == on.get(" ".join(words), set())


def _is_group(words):
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    return isinstance(command, TyperGroup)


@pytest.mark.parametrize("words", filter(_is_group, COMMANDS), ids=" ".join)
def test_a_group_without_a_command_shows_what_there_is(words, capsys):
    main([*words])
    out = capsys.readouterr().out
    below = {w[-1] for w in COMMANDS if w[:-1] == words and w}
    assert below <= {word for line in out.splitlines() for word in line.split()}


@pytest.mark.parametrize(
    "words", [w for w in COMMANDS if w and w[-1] in ("run", "plan", "check", "diff", "fetch")]
)
def test_examples_are_whole_lines(help_of, words):
    lines = [line.strip() for line in help_of(*words).splitlines()]
    start = f"transferflow {' '.join(words)} "
    assert any(line.startswith(start) for line in lines[lines.index("Examples:") :])


def test_the_commands_are_grouped_by_what_they_are_about(help_of):
    text = help_of()
    panels = [line for line in text.splitlines() if line.startswith("╭─")]
    titles = [panel.strip("╭─╮ ").split(":")[0] for panel in panels]
    assert titles == ["Options", "Specs", "Operations", "Models", "Data"]
    assert len([w for w in COMMANDS if len(w) == 1]) == sum(
        f"│ {w[-1]} " in text for w in COMMANDS if len(w) == 1
    )


def test_values_have_names_and_places_stand_apart(help_of):
    text = help_of("plan")
    head, places = text.split("Where things are")
    assert "--set " in head
    assert "KEY=VALUE" in head
    assert "--home" in places
    assert "FOLDER" in places
