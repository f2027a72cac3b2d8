"""The snapshot before: whose splits the next one keeps, and which is therefore part of its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transferflow.data.listing import listing_digest
from transferflow.data.records import DatasetSnapshot, Listing
from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import TransferflowError
from transferflow.spec import ExperimentSpec
from transferflow.stages.keys import prepare_inputs
from transferflow.store import ArtifactStore, digest

FORMER = "former"
_KEY, _FORMER_KEY = "key", "former_key"


@dataclass(frozen=True)
class PrepareInputs:
    """What a snapshot is made from.

    Attributes:
        inputs: Inputs of the prepare stage; their digest is its key.
        former: The snapshot whose splits it keeps and whose facts about unchanged files it takes over.
        former_key: Key of that snapshot.
    """

    inputs: Mapping[str, Any]
    former: DatasetSnapshot | None = None
    former_key: str | None = None

    @property
    def key(self) -> str:
        """Key of the prepare stage."""
        return digest(self.inputs)


def complete_prepare_inputs(spec: ExperimentSpec, store: ArtifactStore, listing: Listing) -> PrepareInputs:
    """Inputs of prepare: the spec, the files, and the splits of the snapshot before.

    A data set that has not changed since then keeps the inputs that it had, so that it is reused.
    """
    base = prepare_inputs(spec, listing_digest(listing))
    last = store.last_inputs("prepare", spec.name)
    if last is None or not _same_split(spec, last):
        return PrepareInputs(base)
    if _without_former(last) != base:
        return _following(store, base, str(last.get(_KEY)))
    inputs = plain_inputs(last)
    if store.find("prepare", digest(inputs)) is not None:
        return PrepareInputs(inputs)
    return _following(store, base, str(last.get(_FORMER_KEY)))


def previous_snapshot(store: ArtifactStore, spec: ExperimentSpec) -> DatasetSnapshot | None:
    """The spec's latest snapshot of the same folder and split, if it is still there and whole."""
    last = store.last_inputs("prepare", spec.name)
    if last is None or not _same_split(spec, last):
        return None
    return _load(store, str(last.get(_KEY)))


def remember_snapshot(store: ArtifactStore, spec: ExperimentSpec, made: PrepareInputs) -> None:
    """Note the spec's latest snapshot: the next one keeps its splits and reads anew only what changed."""
    keys = {_KEY: made.key, _FORMER_KEY: made.former_key}
    last = store.last_inputs("prepare", spec.name)
    if last is None or last.get(_KEY) != made.key:
        store.remember_inputs("prepare", spec.name, {**made.inputs, **keys})


def remembered_keys(store: ArtifactStore) -> Iterator[tuple[str, str]]:
    """Stage and key of the artifacts of each spec's last run, and of the snapshot before its last one."""
    for stage, name in store.remembered():
        last = store.last_inputs(stage, name)
        if last is not None:
            known = [str(last[each]) for each in (_KEY, _FORMER_KEY) if last.get(each)]
            yield from ((stage, key) for key in known or [digest(plain_inputs(last))])


def plain_inputs(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a stage as they were remembered, without what was noted beside them."""
    return {name: value for name, value in remembered.items() if name not in (_KEY, _FORMER_KEY)}


def splits_digest(snapshot: DatasetSnapshot) -> str:
    """sha256 over all that a later snapshot takes its splits from: contents, ids and groups."""
    return digest([snapshot.fingerprint, snapshot.ids, snapshot.groups])


def _following(store: ArtifactStore, base: Mapping[str, Any], former_key: str) -> PrepareInputs:
    former = _load(store, former_key)
    if former is None:
        return PrepareInputs(base)
    return PrepareInputs({**base, FORMER: splits_digest(former)}, former, former_key)


def _same_split(spec: ExperimentSpec, last: Mapping[str, Any]) -> bool:
    """Whether the last snapshot is of the same folder, split by the same rules."""
    data = last.get("data", {})
    return bool(
        data.get("root") == spec.data.root and data.get("split") == spec.data.split.model_dump(mode="json")
    )


def _without_former(last: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain_inputs(last).items() if name != FORMER}


def _load(store: ArtifactStore, key: str) -> DatasetSnapshot | None:
    artifact = store.find("prepare", key)
    try:
        return load_snapshot(artifact.path) if artifact else None
    except TransferflowError:
        return None
