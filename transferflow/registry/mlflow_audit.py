"""The audit trail of a model: who became champion when, why, and in whose place; as tags in MLflow."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from transferflow.registry.base import AuditEvent
from transferflow.registry.mlflow_run import TAG_PREFIX
from transferflow.registry.mlflow_versions import registered_model
from transferflow.text import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PREFIX = f"{TAG_PREFIX}audit."
_LONGEST_REASON = 1000  # MLflow takes 5000 characters of a tag


def now() -> str:
    """The time in UTC, to the second, as it stands in tags."""
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")


def note_event(
    client: MlflowClient,
    model: str,
    action: str,
    *,
    version: int,
    replaced: int | None = None,
    by_hand: bool = True,
    reason: str = "",
) -> None:
    """Add an event to the trail, unless the last one says the same: steps are repeated after a kill."""
    event = AuditEvent(
        when=now(),
        action=action,
        version=version,
        replaced=replaced,
        by=_user() if by_hand else "gate",
        reason=one_line(reason, _LONGEST_REASON),
    )
    last = next(iter(read_trail(client, model)[-1:]), None)
    if last is not None and (last.action, last.version, last.by) == (event.action, event.version, event.by):
        return
    # To the microsecond, so that names are in the order of time.
    name = f"{_PREFIX}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{version}"
    client.set_registered_model_tag(model, name, json.dumps(asdict(event), ensure_ascii=False))


def read_trail(client: MlflowClient, model: str) -> tuple[AuditEvent, ...]:
    """The events of a model, oldest first; a tag that somebody else wrote under our prefix is left out."""
    registered = registered_model(client, model)
    tags: Mapping[str, str] = registered.tags if registered else {}
    found = (_read(tags[name]) for name in sorted(tags) if name.startswith(_PREFIX))
    return tuple(event for event in found if event is not None)


def _read(text: str) -> AuditEvent | None:
    try:
        return AuditEvent(**json.loads(text))
    except (ValueError, TypeError):
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user, as in some containers
        return "hand"
