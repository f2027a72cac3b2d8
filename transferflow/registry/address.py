"""Which addresses of an MLflow server may be said aloud."""

from __future__ import annotations

from transferflow.errors import PlanError
from transferflow.text import holds_secret


def require_no_secret(tracking_uri: str | None) -> str | None:
    """Refuse a password where it is kept: in histories, process lists, and on Prefect's server.

    Raises:
        PlanError: If the address has a user, a password or a token.
    """
    if tracking_uri is not None and holds_secret(tracking_uri):
        raise PlanError(
            "an address with a user, a password or a token",
            where="tracking_uri",
            found=tracking_uri,
            hint="set MLFLOW_TRACKING_URI to it, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    return tracking_uri
