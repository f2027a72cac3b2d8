"""Snapshots as records, without files."""

from pathlib import Path

import pytest

from transferflow.data.records import DatasetSnapshot


@pytest.fixture(scope="session")
def make_snapshot():
    """Make the record of a snapshot with a fingerprint; its files are nowhere."""

    def make(fingerprint="f" * 64):
        return DatasetSnapshot(
            path=Path("snapshot"),
            root=Path("data"),
            fingerprint=fingerprint,
            classes=("a", "b"),
            channels=3,
            counts={"train": 8, "val": 1, "test": 1},
            class_counts={"train": {}, "val": {}, "test": {}},
            quarantined=0,
            ids={"train": "1" * 64, "val": "2" * 64, "test": "3" * 64},
            groups={"train": "4" * 64, "val": "5" * 64, "test": "6" * 64},
        )

    return make
