"""How `--help` reads: options by what they are about, examples, and no type beside a flag."""

from __future__ import annotations

import typer
from typer.core import TyperGroup, TyperOption

SPECS = "Specs: from a file to a promoted model"
OPERATIONS = "Operations: deployments, refresh, workers"
MODELS = "Models"
DATA = "Data"
SURROUNDINGS = "Where things are"


def examples(*lines: str) -> str:
    """Commands that a reader can copy, as the Markdown below a command's help."""
    return "\n".join(("Examples:", "", "```", *(f"transferflow {line}" for line in lines), "```"))


def apply_plain_flags(context: typer.Context) -> None:
    """Take the type away from the flags of a command and of those below it: nobody gives a `<bool>`.

    Args:
        context: Of the command.
    """
    for parameter in context.command.get_params(context):  # with `--help`, which is made here once and kept
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    if isinstance(context.command, TyperGroup):
        for below in context.command.commands.values():
            apply_plain_flags(typer.Context(below, parent=context, **below.context_settings))
