"""What refreshing remembers of a spec: the last look, and the data of the last training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transferflow.stages.outcome import StageOutcome
from transferflow.stages.refresh.decide import DataChange, RefreshDecision
from transferflow.store import read_sealed, write_sealed

_DAY = 24 * 3600


@dataclass(frozen=True)
class Trained:
    """A snapshot that was trained on, evaluated and registered, whatever the verdict.

    Attributes:
        key: Key of its prepare stage.
        at: When the training ended, as ISO 8601 with time zone.
        verdict: What the gate decided.
    """

    key: str
    at: str
    verdict: str = ""

    def days(self, now: datetime) -> float | None:
        """Days since then; `None` if the time can't be read."""
        try:
            return (now - datetime.fromisoformat(self.at)).total_seconds() / _DAY
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class RefreshRecord:
    """The record of one spec.

    Attributes:
        data: Digest of the data's section and files at the last look that came to an end.
        base: Key of the snapshot that they were compared with; empty: with none.
        change: What had changed.
        decision: What was decided last.
        trained: The data of the last training that a refresh started.
    """

    data: str = ""
    base: str = ""
    change: DataChange | None = None
    decision: RefreshDecision | None = None
    trained: Trained | None = None


def read_record(path: Path) -> RefreshRecord:
    """Read a record; an empty one if there is none, or it is damaged: then the registry is asked."""
    try:
        content = read_sealed(path)
        return RefreshRecord(
            data=str(content["data"]),
            base=str(content["base"]),
            change=None if content["change"] is None else DataChange.from_json(content["change"]),
            decision=None if content["decision"] is None else RefreshDecision(**content["decision"]),
            trained=None if content["trained"] is None else Trained(**content["trained"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return RefreshRecord()


def write_record(path: Path, record: RefreshRecord) -> None:
    """Write a record, unless it says what it said before."""
    if read_record(path) != record:
        write_sealed(path, _to_json(record))


def remember_training(path: Path, prepared: StageOutcome, registered: StageOutcome) -> None:
    """Note that a snapshot was trained on; the caller holds the spec's refresh."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    trained = Trained(prepared.key, at, str(registered.summary["verdict"]))
    write_record(path, replace(read_record(path), trained=trained))


def _to_json(record: RefreshRecord) -> Mapping[str, Any]:
    return asdict(record)
