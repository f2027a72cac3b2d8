import asyncio
import logging

import httpx
import pytest
from prefect.logging.handlers import APILogHandler
from transferflow.pipelines import patient_logs
from transferflow.pipelines.logs import concerns_a_person, logs_sent_to_server, plain_terminal


def record(name, level):
    return logging.LogRecord(name, level, "file", 1, "text", (), None)


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("prefect.flow_runs", logging.ERROR, False),
        ("prefect.task_runs", logging.ERROR, False),
        ("prefect.client", logging.INFO, False),
        ("prefect.client", logging.WARNING, True),
        ("timm.models", logging.WARNING, True),
    ],
)
def test_the_terminal_shows_what_a_person_needs(name, level, shown):
    assert concerns_a_person(record(name, level)) is shown


def test_our_lines_come_plain_and_once(capsys, monkeypatch):
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL", raising=False)
    logger = logging.getLogger("transferflow")
    before = (logger.level, list(logger.handlers), logger.propagate)
    with plain_terminal():
        logger.warning("epoch 1")
    assert capsys.readouterr().err == "epoch 1\n"
    monkeypatch.setattr(logging.getLogger("prefect.extra"), "handlers", [APILogHandler()])
    with logs_sent_to_server():
        assert logger.isEnabledFor(logging.INFO)
        with logs_sent_to_server():  # a refresh that trains
            assert (
                sum(isinstance(handler, patient_logs.PatientLogHandler) for handler in logger.handlers) == 1
            )
    assert (logger.level, logger.handlers, logger.propagate) == before


class Away:
    """A server that refuses so often."""

    def __init__(self, times, error):
        self.times, self.error, self.got = times, error, []

    async def create_logs(self, items):
        if self.times:
            self.times -= 1
            raise self.error
        self.got += items


def status_error(code):
    return httpx.HTTPStatusError(
        "no", request=httpx.Request("POST", "http://x"), response=httpx.Response(code)
    )


@pytest.mark.parametrize(
    ("error", "arrives"),
    [(httpx.ConnectError("away"), True), (status_error(503), True), (status_error(422), False)],
)
def test_lines_wait_for_a_server_that_is_away(monkeypatch, capsys, error, arrives):
    monkeypatch.setattr(patient_logs, "_AGAIN_SECONDS", 0.0)
    worker = patient_logs.PatientLogWorker("a test")
    worker._client = Away(50 if arrives else 2, error)
    asyncio.run(worker._handle_batch([{"message": "epoch 1"}]))
    assert worker._client.got == ([{"message": "epoch 1"}] if arrives else [])
    assert ("Error logging to API" in capsys.readouterr().err) is not arrives


def test_a_process_that_ends_does_not_wait_for_ever(monkeypatch, capsys):
    monkeypatch.setattr(patient_logs, "_LEAVING_SECONDS", 0.1)
    worker = patient_logs.PatientLogWorker("a test")
    worker._client, worker._stopped = Away(1000, httpx.ConnectError("away")), True
    asyncio.run(worker._handle_batch([{"message": "epoch 1"}]))
    assert "Error logging to API" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "hides"), [(None, True), ("DEBUG", False)])
def test_nothing_is_hidden_where_a_level_of_prefect_is_set(monkeypatch, level, hides):
    monkeypatch.delenv("PREFECT_LOGGING_LEVEL", raising=False)
    if level:
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", level)
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        with plain_terminal():
            assert (concerns_a_person in handler.filters) is hides
        assert not handler.filters
    finally:
        logging.getLogger().removeHandler(handler)
