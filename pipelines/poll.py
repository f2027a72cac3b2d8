"""How a refresh's run begins: with a look that needs no Prefect, and mostly ends there.

`python -m transferflow.pipelines.poll` is the command of such runs in process pools. Prefect's engine takes
more than two CPU-seconds to load before it has done anything. Where nothing was touched since the last look,
this process tells the server so by itself, in four requests; in any other case, and whenever anything is
not as it should be, it becomes Prefect's engine, which does the whole refresh.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.spec.load import load_spec
from transferflow.stages.places import refresh_record
from transferflow.stages.refresh.peek import peek_at_data
from transferflow.store import default_home

from .project import require_pinned

NOTHING = "NothingToDo"
_RUN = "PREFECT__FLOW_RUN_ID"
_SECONDS = 20.0
_OTHER_WAYS = (
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY",
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT_API_SSL_CERT_FILE",
)
"""Settings of Prefect's client that only itself knows what to make of."""
Json = Mapping[str, Any]


def main() -> None:
    """Look, and say that there is nothing to do, or become Prefect's engine."""
    try:
        is_done = tell_if_nothing_to_do(os.environ)
    except Exception:  # whatever it is, the engine meets it again and reports it in the run
        is_done = False
    if not is_done:
        os.execv(sys.executable, [sys.executable, "-m", "prefect.engine"])  # noqa: S606


def tell_if_nothing_to_do(environment: Mapping[str, str]) -> bool:
    """Look at the data of this process's run, and end the run if nothing is new.

    Args:
        environment: What the worker has set: the server, the run, how to log in.

    Returns:
        Whether the run has ended.
    """
    if any(environment.get(name) for name in _OTHER_WAYS):
        return False
    server = _Server(environment)
    run_id = environment[_RUN]
    run = server.ask(f"/flow_runs/{run_id}")
    deployment = server.ask(f"/deployments/{run['deployment_id']}")
    reason = _reason_for_nothing(_folder(deployment), run["parameters"])
    if reason is None:
        return False
    for state in ({"type": "RUNNING"}, {"type": "COMPLETED", "name": NOTHING, "message": reason}):
        told = server.ask(f"/flow_runs/{run_id}/set_state", {"state": state})
        if told["status"] != "ACCEPT":  # it was cancelled, or another process has it
            return False
    return True


def _reason_for_nothing(folder: Path, parameters: Json) -> str | None:
    """Why there is nothing to do; `None`: there may be something."""
    os.chdir(folder)
    path = Path(parameters["spec"])
    if parameters.get("sha256") is not None:
        require_pinned(path, parameters["sha256"])
    spec = load_spec(path, parameters.get("overrides") or ())
    home = Path(parameters["home"]).absolute() if parameters.get("home") else default_home()
    rule = spec.deployment.refresh
    decision = peek_at_data(spec, rule, refresh_record(home, spec.name)) if rule else None
    return decision.reason if decision is not None and decision.action == "nothing" else None


def _folder(deployment: Json) -> Path:
    """Where the run takes place; a deployment that says it otherwise is the engine's."""
    [step] = deployment["pull_steps"]
    [arguments] = step.values()
    return Path(arguments["directory"])


class _Server:
    """The few words of Prefect's API that this takes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._url = environment["PREFECT_API_URL"].rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if environment.get("PREFECT_API_KEY"):
            self._headers["Authorization"] = f"Bearer {environment['PREFECT_API_KEY']}"
        elif environment.get("PREFECT_API_AUTH_STRING"):
            login = base64.b64encode(environment["PREFECT_API_AUTH_STRING"].encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"

    def ask(self, path: str, body: Json | None = None) -> Json:
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(self._url)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            answer: Json = json.loads(response.read())
        return answer


if __name__ == "__main__":
    main()
