"""What every command prints through: messages are data, so nothing in them is read as markup."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from transferflow.errors import Problem

_PIPED = (120, 40)


def output() -> Console:
    """Console for results, on stdout."""
    return _console(stderr=False)


def errors() -> Console:
    """Console for errors, on stderr."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    # rich takes a dumb terminal for 80 columns whatever COLUMNS says, and CI often is one.
    width, height = shutil.get_terminal_size(_PIPED)
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, width=width, height=height)


def printable(text: str) -> str:
    """Show control characters as escapes, so that a file's content can't steer the terminal."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def problem_text(problem: Problem, title: str = "error") -> Text:
    """Lay one problem out: where and what in the first line, then found, allowed and hint."""
    text = Text()
    text.append(f"{title}: ", style="bold red")
    if problem.where:
        text.append(f"{printable(problem.where)}: ", style="bold")
    text.append(printable(problem.what))
    for label, value in (("found", problem.found), ("allowed", problem.allowed), ("hint", problem.hint)):
        if value:
            text.append(f"\n    {label + ':':<9}", style="dim" if label != "hint" else "green")
            text.append(printable(value).replace("\n", "\n             "))
    return text


def print_problems(problems: Iterable[Problem]) -> None:
    """Print every problem on stderr."""
    for problem in problems:
        errors().print(problem_text(problem))
