"""Where the runs of a deployment keep their artifacts on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.schemas.responses import DeploymentResponse

from .deployment_changes import folder_of


def home_of(parameters: Mapping[str, Any], deployment: DeploymentResponse) -> Path:
    """The home that a run takes on this machine, in an environment like this one's.

    Args:
        parameters: Of the run, or of the deployment.
        deployment: The deployment.
    """
    said = parameters.get("home") or os.environ.get("TRANSFERFLOW_HOME")
    return Path(str(said)) if said else Path(folder_of(deployment)) / ".transferflow"
