"""Who sees which log line: the server gets all of ours, the terminal just what a person needs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.logging.handlers import APILogHandler

from transferflow.logs import get_logger

from .patient_logs import PatientLogHandler


@contextmanager
def logs_sent_to_server() -> Iterator[None]:
    """Let the library's lines appear in the flow run, as PREFECT_LOGGING_EXTRA_LOGGERS would.

    The setting must stand in the environment before Prefect is imported; this works in any process.
    """
    logger = get_logger()
    level = logger.level
    with ExitStack() as undo:
        for handler in map(_patient, logging.getLogger("prefect.extra").handlers):
            if not _has(logger, handler):
                logger.addHandler(handler)
                undo.callback(logger.removeHandler, handler)
        if level == logging.NOTSET:
            logger.setLevel(logging.INFO)
            undo.callback(logger.setLevel, level)
        yield


def _patient(handler: logging.Handler) -> logging.Handler:
    if not isinstance(handler, APILogHandler):
        return handler
    patient = PatientLogHandler(handler.level)
    patient.setFormatter(handler.formatter)
    return patient


def _has(logger: logging.Logger, handler: logging.Handler) -> bool:
    """Whether a logger has it, or, in a refresh that trains, another one that sends the same lines."""
    sends = isinstance(handler, PatientLogHandler)
    return any(h is handler or (sends and isinstance(h, PatientLogHandler)) for h in logger.handlers)


@contextmanager
def plain_terminal() -> Iterator[None]:
    """Show our own lines as they are, and of Prefect's own only warnings that are not about a run.

    What happens to a run, its failure included, is told by the command itself. Nothing is hidden when
    PREFECT_LOGGING_LEVEL is set.
    """
    if os.environ.get("PREFECT_LOGGING_LEVEL"):
        yield
        return
    logger = get_logger()
    with ExitStack() as undo:
        for handler in logging.getLogger().handlers:
            handler.addFilter(concerns_a_person)
            undo.callback(handler.removeFilter, concerns_a_person)
        terminal = logging.StreamHandler(sys.stderr)
        logger.addHandler(terminal)
        undo.callback(logger.removeHandler, terminal)
        undo.callback(setattr, logger, "propagate", logger.propagate)
        logger.propagate = False
        yield


def concerns_a_person(record: logging.LogRecord) -> bool:
    """Whether a line belongs on the terminal."""
    if record.name.startswith(("prefect.flow_runs", "prefect.task_runs")):
        return False
    return not record.name.startswith("prefect") or record.levelno >= logging.WARNING
