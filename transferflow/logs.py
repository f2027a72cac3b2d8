"""The library's loggers, which let nothing out of a file steer a terminal or pose as a line of its own."""

from __future__ import annotations

import logging
from pathlib import PurePath

from transferflow.limits import MAX_MESSAGE
from transferflow.text import one_line

NAME = "transferflow"
_WORDS = (str, PurePath, BaseException)


def get_logger(room: str = "") -> logging.Logger:
    """The library's logger, or that of one of its rooms."""
    logger = logging.getLogger(f"{NAME}.{room}" if room else NAME)
    logger.addFilter(clean_record)  # the same function again is not added again
    return logger


def clean_record(record: logging.LogRecord) -> bool:
    """Make what a line quotes printable, and blank credentials in it."""
    if isinstance(record.args, tuple):
        record.args = tuple(_clean(value) for value in record.args)
    return True


def _clean(value: object) -> object:
    return one_line(value, MAX_MESSAGE) if isinstance(value, _WORDS) else value
