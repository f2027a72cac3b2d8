from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest

from transferflow.logs import get_logger

SOURCE = Path(__file__).parents[1]


@pytest.mark.parametrize("room", ["", "data"])
def test_a_line_quotes_nothing_that_steers_or_leaks(caplog, room):
    logger = get_logger(room)
    with caplog.at_level(logging.INFO, logger=logger.name):
        logger.info(
            "%d of %s: %s", 3, Path("a\x1b[2J.png"), OSError("https://me:hunter2@host/\nerror: forged")
        )
    (record,) = caplog.records
    assert record.getMessage() == "3 of a\\x1b[2J.png: https://***@host/\\nerror: forged"


def test_asking_twice_cleans_once():
    assert len(get_logger("data").filters) == len(get_logger("data").filters) == 1


def test_our_loggers_are_made_in_one_place():
    """A logger of our own that is made elsewhere would print what it is given."""
    for file in [*SOURCE.glob("transferflow/**/*.py"), *SOURCE.glob("pipelines/**/*.py")]:
        if file.name == "logs.py" and file.parent.name == "transferflow":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                name = ast.unparse(node.args[0]) if node.args else "root"
                assert name in {
                    "root",
                    "name",
                    "'tifffile'",
                    "'huggingface_hub'",
                    "'mlflow.store.db.utils'",
                    "'prefect.extra'",
                    "'onnxscript'",
                    "'uvicorn'",
                }, f"{file}: {name}"
