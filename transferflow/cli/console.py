"""What every command prints through: messages are data, so nothing in them is read as markup."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.text import Text

from transferflow.errors import Problem
from transferflow.text import printable

_PIPED = (120, 40)
_NOBODY_READS = (errno.EPIPE, errno.EIO)
"""What writing comes to where `head` has closed a pipe, and where a terminal is gone."""


def output() -> Console:
    """Console for results, on stdout."""
    return _console(stderr=False)


def errors() -> Console:
    """Console for errors, on stderr."""
    return _console(stderr=True)


@contextmanager
def read_or_not(stream: TextIO) -> Iterator[None]:
    """Print within the block, which does nothing else; where nobody reads it any more, that is no fault.

    What else is printed to the stream goes nowhere.
    """
    try:
        yield
        stream.flush()
    except OSError as error:
        if error.errno not in _NOBODY_READS:
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Console(Console):
    """Says that nobody reads, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        """Called while the error is handled: whoever prints decides, see `read_or_not`; else typer does."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _console(*, stderr: bool) -> Console:
    # rich takes a dumb terminal for 80 columns whatever COLUMNS says, and CI often is one.
    width, height = shutil.get_terminal_size(_PIPED)
    console = _Console(
        stderr=stderr, soft_wrap=True, highlight=False, markup=False, width=width, height=height
    )
    console.push_render_hook(_PrintableOnly())
    return console


class _PrintableOnly(RenderHook):
    """Keeps control characters and credentials from the terminal, whatever is printed.

    What is laid out in a table should be made printable before, so that its width is right.
    """

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what is about to be printed."""
        return [_Shown(renderable) for renderable in renderables]


@dataclass(frozen=True)
class _Shown:
    """What is printed, with its text made printable; rich's own control codes are kept."""

    content: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.content, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def problem_text(problem: Problem, title: str = "error") -> Text:
    """Lay one problem out: where and what in the first line, then found, allowed and hint."""
    text = Text()
    text.append(f"{title}: ", style="bold red")
    if problem.where:
        text.append(f"{problem.where}: ", style="bold")
    text.append(problem.what)
    for label, value in (("found", problem.found), ("allowed", problem.allowed), ("hint", problem.hint)):
        if value:
            text.append(f"\n    {label + ':':<9}", style="dim" if label != "hint" else "green")
            text.append(value.replace("\n", "\n             "))
    return text


def print_problems(problems: Iterable[Problem]) -> None:
    """Print every problem on stderr."""
    with read_or_not(sys.stderr):
        for problem in problems:
            errors().print(problem_text(problem))
