"""The `transferflow` command: collects the command groups and turns every error into a message."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from transferflow import __version__
from transferflow.cli import (
    changes,
    compare,
    data,
    data_show,
    datasets,
    deploy,
    export,
    gc,
    init_repo,
    models,
    predict,
    refresh,
    registered,
    report,
    run,
    runs,
    serve,
    spec,
    status,
    workers,
)
from transferflow.cli.console import errors, output, print_problems, read_or_not
from transferflow.cli.help import DATA, MODELS, OPERATIONS, SPECS, apply_plain_flags, examples
from transferflow.cli.signals import signals_raise
from transferflow.cli.usage import usage_hint
from transferflow.cpus import apply_thread_settings
from transferflow.errors import StopSignal, TransferflowError
from transferflow.logs import get_logger
from transferflow.machine import machine_error
from transferflow.text import printable

INTERRUPTED = 130
WRONG_USAGE = 2
STOPPED = "interrupted: what was finished is kept, and the same command goes on from there"
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h

app = typer.Typer(
    help="Commit a spec, get a trained, measured, explained and promoted vision model.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog="Each command has a `--help` of its own.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The command groups. Their modules import torch, mlflow, pandas and the like inside the functions only,
# so that `transferflow --help` and `transferflow validate` stay quick.
_validate = examples("validate specs/", "validate my-spec.yaml --set optimizer.lr=3e-4")
_plan = examples("plan my-spec.yaml", "plan my-spec.yaml --set optimizer.lr=3e-4   # what runs again?")
_run = examples("run my-spec.yaml --preflight-only   # look at the first batch", "run my-spec.yaml")
_deploy = examples("deploy specs/ --dry-run", "deploy specs/ --prune")
_status = examples("status", "status --json")
_refresh = examples("refresh my-spec.yaml --dry-run", "refresh my-spec.yaml")
_predict = examples("predict my-model photo.jpg", "predict my-model@challenger photos/ --csv")
_export = examples("export my-model --format onnx", "export my-model/3 --normalise -o model.onnx")
_compare = examples("compare my-model my-model@challenger", "compare my-model/1 my-model/2 my-model/3")
_schema = examples("schema --output spec.schema.json")
app.command("validate", rich_help_panel=SPECS, epilog=_validate)(spec.validate)
app.command("plan", rich_help_panel=SPECS, epilog=_plan)(run.plan)
app.command("run", rich_help_panel=SPECS, epilog=_run)(run.run)
app.command("deploy", rich_help_panel=OPERATIONS, epilog=_deploy)(deploy.deploy)
app.command("refresh", rich_help_panel=OPERATIONS, epilog=_refresh)(refresh.refresh)
app.command("worker", rich_help_panel=OPERATIONS, epilog=examples("worker --pool gpu"))(workers.worker)
app.command("resume", rich_help_panel=OPERATIONS, epilog=examples("resume"))(workers.resume)
app.command("status", rich_help_panel=OPERATIONS, epilog=_status)(status.status)
app.command("logs", rich_help_panel=OPERATIONS, epilog=examples("logs my-spec"))(status.logs)
app.command("gc", rich_help_panel=OPERATIONS, epilog=examples("gc --dry-run", "gc --keep 3"))(gc.gc)
app.command("changes", rich_help_panel=SPECS, epilog=examples("changes origin/main specs/"))(changes.changes)
app.command("init-repo", rich_help_panel=SPECS, epilog=examples("init-repo my-models"))(init_repo.init_repo)
app.command("schema", rich_help_panel=SPECS, epilog=_schema)(spec.schema)
app.command("predict", rich_help_panel=MODELS, epilog=_predict)(predict.predict)
app.command("serve", rich_help_panel=MODELS, epilog=examples("serve my-model --port 8000"))(serve.serve)
app.command("report", rich_help_panel=MODELS, epilog=examples("report --open"))(report.report)
app.command("export", rich_help_panel=MODELS, epilog=_export)(export.export)
app.command("compare", rich_help_panel=MODELS, epilog=_compare)(compare.compare)
app.add_typer(registered.models, name="models", rich_help_panel=MODELS)
app.add_typer(runs.app, name="runs", rich_help_panel=MODELS)
app.add_typer(models.backbones, name="backbones", rich_help_panel=MODELS)
app.add_typer(models.weights, name="weights", rich_help_panel=MODELS)
data.app.command("show", epilog=examples("data show my-spec.yaml --images 24"))(data_show.show)
app.add_typer(data.app, name="data", rich_help_panel=DATA)
app.add_typer(datasets.app, name="datasets", rich_help_panel=DATA)


def _print_version(wanted: bool) -> None:
    if wanted:
        output().print(f"transferflow {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """Commit a spec, get a trained, measured, explained and promoted vision model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Words after the program's name; left out: those of the process.

    Returns:
        0, or the error's own code: 2 for a bad spec or usage, 3 for a verdict that `run --fail-on` names, 130
        or 143 when stopped, 70 for a bug, else 1.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    words, debug = _take_debug(words)
    apply_thread_settings()  # before anything loads torch
    logger = get_logger()
    level = logger.level
    try:
        command = get_command(app)
        apply_plain_flags(typer.Context(command, **command.context_settings))
        with signals_raise():
            command(args=words, prog_name="transferflow")
    except TransferflowError as error:
        if debug:
            _print_traceback()
        print_problems(error.problems)
        return error.exit_code
    except KeyboardInterrupt:
        errors().print(STOPPED)
        return INTERRUPTED
    except StopSignal as stop:
        with read_or_not(sys.stderr):
            errors().print("stopped by SIGTERM\n    hint: run the same command again to go on")
        return 128 + stop.number
    except SystemExit as stop:
        return _after_exit(stop, words)
    except Exception as error:
        return _after_fault(error, debug)
    finally:
        logger.setLevel(level)  # `--quiet` and `--verbose` hold for one command
    return 0


def _after_exit(stop: SystemExit, words: Sequence[str]) -> int:
    """Exit code of a command that ended itself; typer turns ctrl-C and wrong usage into one without words."""
    code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if code == INTERRUPTED:
        errors().print(STOPPED)
    elif code == WRONG_USAGE:
        whole = typer.main.get_command(app)
        found = usage_hint(words, _options(whole, words), frozenset(getattr(whole, "commands", {})))
        if found:
            errors().print(f"hint: {found}", style="green")
    return code


def _options(command: object, words: Sequence[str]) -> frozenset[str]:
    """Options of the command that the words name, and of the groups that it is in."""
    found = {"--help", "--debug"}
    for parameter in getattr(command, "params", ()):
        found.update(parameter.opts, parameter.secondary_opts)
    below = getattr(command, "commands", {})
    named = next((word for word in words if word in below), None)
    return frozenset(found) | (_options(below[named], words) if named else frozenset())


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """Take `--debug` out of the words, wherever it stands before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:end] if word != "--debug"]
    return options + words[end:], len(options) < end


def _print_traceback() -> None:
    # Through the console: a traceback may quote a file's content or an address, too.
    errors().print(traceback.format_exc(), end="")


def _after_fault(error: Exception, debug: bool) -> int:
    """Exit code of what nobody expected: a fault of the machine, or a bug."""
    if debug:
        _print_traceback()
    named = machine_error(error)
    if named is not None:
        print_problems(named.problems)
        return named.exit_code
    return _report_unexpected(error, debug)


def _report_unexpected(error: Exception, debug: bool) -> int:
    """Say in one line what a bug raised; the traceback is for developers."""
    text = printable(str(error)).strip()
    first_line = text.splitlines()[0] if text else "no message"
    errors().print(f"unexpected error: {type(error).__name__}: {first_line}", style="bold red", markup=False)
    if not debug:
        errors().print("    hint: run it again with --debug for the traceback, and report it", markup=False)
    return UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
