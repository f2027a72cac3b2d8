"""Who sees which log line: the server gets all of ours, the terminal just what a person needs."""

from __future__ import annotations

import logging
import os
import sys


def send_logs_to_server(logger: logging.Logger) -> None:
    """Let a library's lines appear in the flow run, as PREFECT_LOGGING_EXTRA_LOGGERS would.

    The setting must stand in the environment before Prefect is imported; this works in any process.
    """
    for handler in logging.getLogger("prefect.extra").handlers:
        if handler not in logger.handlers:
            logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


def keep_terminal_plain() -> None:
    """Show our own lines as they are, and of Prefect's own only warnings that are not about a run.

    What happens to a run, its failure included, is told by the command itself. Nothing is hidden when
    PREFECT_LOGGING_LEVEL is set.
    """
    if os.environ.get("PREFECT_LOGGING_LEVEL"):
        return
    for handler in logging.getLogger().handlers:
        handler.addFilter(_concerns_a_person)
    ours = logging.getLogger("transferflow")
    if not any(type(handler) is logging.StreamHandler for handler in ours.handlers):
        ours.addHandler(logging.StreamHandler(sys.stderr))
    ours.propagate = False


def _concerns_a_person(record: logging.LogRecord) -> bool:
    if record.name.startswith(("prefect.flow_runs", "prefect.task_runs")):
        return False
    return not record.name.startswith("prefect") or record.levelno >= logging.WARNING
