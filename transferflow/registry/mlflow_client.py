"""The one place that opens MLflow: quiet, without telemetry, with errors in our own words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from transferflow.errors import RegistryError, root_reason

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

CHECK_SERVER = "check the tracking URI (`--tracking-uri` or MLFLOW_TRACKING_URI) and that its server runs"


def build_client(tracking_uri: str) -> MlflowClient:
    """Open a tracking and registry client; an empty database gets its tables (about 3 s)."""
    with answered(tracking_uri):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def answered(location: str, hint: str = CHECK_SERVER) -> Iterator[None]:
    """Turn whatever MLflow, its database or the network raises into a `RegistryError`.

    A full disk and the like stay what they are: they have nothing to do with the registry.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)  # read by MLflow when it is imported
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise RegistryError(
            "the model registry refused or did not answer",
            where=location,
            found=root_reason(error),
            hint=hint,
        ) from error
