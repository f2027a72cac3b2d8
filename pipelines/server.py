"""The Prefect server that a command talks to: the configured one, or one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from transferflow.errors import FlowError
from transferflow.store.file_locks import file_lock

from .own_server import own_server

START_HINT = (
    "start a server with `prefect server start`, and set PREFECT_API_URL to its address, "
    "such as http://127.0.0.1:4200/api"
)
_START_SECONDS = 120
_DRAIN_SECONDS = 20


@contextmanager
def reachable_server(folder: Path, meanwhile: Callable[[], None]) -> Iterator[None]:
    """Use the configured server, or a private one that lives as long as needed.

    Args:
        folder: Where a private server keeps its database and log, and this process its results.
        meanwhile: What to do while the private server starts.

    Raises:
        FlowError: If the server does not start, does not answer, or stops answering.
    """
    configured = PREFECT_API_URL.value()
    if configured is not None:
        check_health(configured)
        with answered(configured):
            yield
        return
    with file_lock(folder / "start.lock") as let_go, own_server(folder) as url:
        settings = {PREFECT_API_URL: url, PREFECT_LOCAL_STORAGE_PATH: folder / "storage"}
        with temporary_settings(settings):
            meanwhile()
            check_health(
                url,
                f"its log is {folder / 'server.log'}; moved away, {folder} is made anew: it holds what flows "
                "did, and nothing that a stage made",
            )
            let_go()  # the database has its tables now
            try:
                with answered(url):
                    yield
            finally:
                _send_what_is_queued()


def configured_server() -> str:
    """API of the server that stays.

    Raises:
        FlowError: If none is configured, or it does not answer.
    """
    url: str | None = PREFECT_API_URL.value()
    if url is None:
        raise FlowError("deployments need a Prefect server that stays", hint=START_HINT)
    check_health(url)
    return url


def check_health(url: str, hint: str = f"check PREFECT_API_URL, or {START_HINT}") -> None:
    """See that the server answers.

    Raises:
        FlowError: If it does not.
    """
    problem: Exception | None
    try:
        with get_client(httpx_settings={"timeout": _START_SECONDS}, sync_client=True) as client:
            problem = client.api_healthcheck()
    except (httpx.HTTPError, httpx.InvalidURL, PrefectException, RuntimeError, ValueError) as error:
        problem = error
    if problem is not None:
        raise _refused(url, problem, hint)


@contextmanager
def answered(url: str) -> Iterator[None]:
    """Turn what the server's client raises into a `FlowError`; a stage's own downloads are left alone."""
    try:
        yield
    except httpx.HTTPError as error:
        if not _concerns(error, url):
            raise
        raise _refused(url, error, "see the server's log; `--no-prefect` runs without one") from error


def _send_what_is_queued() -> None:
    # Logs and events leave in the background: the server must live until they have.
    for service in (EventsWorker, APILogWorker):
        service.drain_all(timeout=_DRAIN_SECONDS)


def _concerns(error: httpx.HTTPError, url: str) -> bool:
    try:
        return str(error.request.url).startswith(url)
    except RuntimeError:  # httpx: there is no request
        return False


def _refused(url: str, problem: Exception, hint: str) -> FlowError:
    text = str(problem).strip() or type(problem).__name__
    return FlowError(
        "the Prefect server refused or did not answer", where=url, found=text.splitlines()[0], hint=hint
    )
