"""From what a person calls a model to one that can be compared: versions, runs, specs and bundles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from transferflow.errors import RegistryError, StoreError
from transferflow.registry.base import RegisteredVersion, parse_reference
from transferflow.registry.names import is_reference
from transferflow.spec.load import load_spec
from transferflow.stages.artifacts import REGISTRATION
from transferflow.stages.context import RunContext
from transferflow.stages.runs import list_runs
from transferflow.tasks.bundle_files import DESCRIPTION

_SPECS = frozenset({".yaml", ".yml"})


@dataclass(frozen=True)
class Candidate:
    """A model to compare.

    Attributes:
        name: How it is called.
        bundle: Its folder.
        version: Its version; `None` for a bundle alone, of whose data nothing is known.
    """

    name: str
    bundle: Path
    version: RegisteredVersion | None


def find_candidate(text: str, context: RunContext) -> Candidate:
    """Find the model that a person means.

    Args:
        text: A bundle's folder; a spec's file, for what its run registered; `NAME`, `NAME@ALIAS` or
            `NAME/VERSION` of a registered model; or the name of a run in this home, for its last version.
        context: Surroundings.

    Raises:
        SpecError: If the file is no valid spec.
        StoreError: If the spec has not been run as it is.
        RegistryError: If there is no such model.
    """
    path = Path(text)
    if (path / DESCRIPTION).is_file():
        return Candidate(path.name or str(path), path, None)
    version = _of_spec(path, context) if path.suffix.lower() in _SPECS else _of_name(text, context)
    return Candidate(f"{version.model}/{version.version}", context.registry.bundle(version), version)


def require_version(candidate: Candidate) -> RegisteredVersion:
    """The version of a candidate.

    Raises:
        RegistryError: If it is a bundle alone, of whose test images nothing is known.
    """
    if candidate.version is None:
        raise RegistryError(
            "a bundle's folder says nothing of test images",
            where=candidate.name,
            hint="name a version last: all are measured on its test images",
        )
    return candidate.version


def _of_name(text: str, context: RunContext) -> RegisteredVersion:
    reference = parse_reference(text)
    found = context.registry.lookup(*reference) if is_reference(*reference) else None
    if found is not None:
        return found
    run = next((run for run in list_runs(context) if run.name == text), None)
    return context.registry.find(run.model, str(run.version)) if run else context.registry.find(*reference)


def _of_spec(path: Path, context: RunContext) -> RegisteredVersion:
    from transferflow.stages.plan.compile import compile_plan  # loads torch

    last = compile_plan(load_spec(path), context).stages[-1]
    found = context.store.find(last.stage, last.key) if last.key else None
    if found is None:
        raise StoreError(
            "this spec has not been run as it is, or its data has changed since",
            where=str(path),
            hint=f"`transferflow run {path}` runs what is lacking",
        )
    registered = json.loads((found.path / REGISTRATION).read_text())
    return context.registry.find(registered["model"], str(registered["version"]))
