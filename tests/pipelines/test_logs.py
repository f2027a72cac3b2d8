import logging

import pytest
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
    with logs_sent_to_server():
        assert logger.isEnabledFor(logging.INFO)
        assert set(logging.getLogger("prefect.extra").handlers) <= set(logger.handlers)
    assert (logger.level, logger.handlers, logger.propagate) == before
