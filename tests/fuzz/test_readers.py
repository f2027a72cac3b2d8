"""Files broken by chance: each reader gives a result or one of our errors, in bounded time and memory.

`TRANSFERFLOW_FUZZ=5000 pytest tests/fuzz` tries so many files of each kind, others in every run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW = 25
NAMES = (
    *("csv", "parquet", "coco", "voc", "yolo labels", "yolo names", "mask", "tiff", "dicom", "image"),
    *("weights", "bundle", "spec"),
)


@pytest.fixture(scope="session")
def found():
    """What went wrong, by reader; one process imports for all of them."""
    asked = os.environ.get("TRANSFERFLOW_FUZZ")
    script = Path(__file__).with_name("readers.py")
    command = [sys.executable, str(script), asked or str(FEW), "chance" if asked else "same"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_an_error_and_no_more(found, name):
    assert not found[name], found[name]


def test_every_reader_is_tried(found):
    assert set(found) == set(NAMES)
