"""The one place that opens MLflow: quiet, without telemetry, with errors in our own words."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from transferflow.errors import RegistryError, root_reason
from transferflow.machine import machine_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own waits of several minutes on a dead server look like a hang.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # It would print the server's address, password and all.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_ODD = (ValueError, TypeError)
"""What MLflow raises about values of another type than it has written."""
CHECK_SERVER = "check the tracking URI (`--tracking-uri` or MLFLOW_TRACKING_URI) and that its server runs"


def build_client(tracking_uri: str) -> MlflowClient:
    """Open a tracking and registry client; an empty database gets its tables (about 3 s)."""
    with answered(tracking_uri):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def answered(location: str, hint: str = CHECK_SERVER, place: Path | None = None) -> Iterator[None]:
    """Turn whatever MLflow, its database or the network raises into an error in our own words.

    Args:
        location: Where the registry is.
        hint: What to do if it refuses.
        place: Its folder, if it has one on this machine.

    Raises:
        MachineError: If the disk is full and the like.
        RegistryError: If the registry refuses, or does not answer.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)  # read by MLflow when it is imported
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
    # It writes a traceback of what it raises, which is told below.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error, OSError, *_ODD) as error:
        fault = machine_error(error, place)
        if fault is not None:
            raise fault from error
        raise RegistryError(
            "the model registry refused or did not answer",
            where=location,
            found=root_reason(error),
            hint=hint,
        ) from error
