"""Stage 4: the gate decides, and the registry keeps the model."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferflow.data.snapshot.build import load_snapshot
from transferflow.registry.base import ModelRegistry
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import REGISTRATION, REPORT, SHEET
from transferflow.stages.context import RunContext
from transferflow.stages.keys import register_inputs
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.standing import report_path, standing_today
from transferflow.stages.told import tell_inputs
from transferflow.store import Artifact, digest, write_atomic


def register(
    spec: ExperimentSpec,
    context: RunContext,
    prepared: StageOutcome,
    trained: StageOutcome,
    evaluated: StageOutcome,
) -> StageOutcome:
    """Decide PROMOTE, HOLD or REJECT, register the version and write the report.

    Raises:
        RegistryError: If the registry refuses or does not answer.
    """
    started = time.perf_counter()
    registry = context.registry
    inputs = register_inputs(spec, evaluated.key, registry.identity)
    key = digest(inputs)
    tell_inputs(spec, context, "register", key, inputs)
    challenger = Challenger(spec, load_snapshot(prepared.folder), prepared, trained, evaluated)
    artifact = context.store.obtain(
        "register",
        key,
        inputs,
        lambda folder: _promote(challenger, context, registry, key, folder),
        wait=context.wait,
        accept=lambda found: _is_there(registry, found.path),
    )
    context.store.remember_inputs("register", spec.name, inputs)
    shutil.rmtree(context.points(trained.key), ignore_errors=True)  # the registry has them
    summary = json.loads((artifact.path / REGISTRATION).read_text())
    report = _keep_report(context, spec, summary, artifact)
    summary |= standing_today(registry, summary) | {"report": str(report)}
    seconds = time.perf_counter() - started
    return StageOutcome("register", key, str(artifact.path), artifact.reused, seconds, summary)


def _keep_report(
    context: RunContext, spec: ExperimentSpec, registered: Mapping[str, Any], artifact: Artifact
) -> Path:
    """Copy the report to where people look for it: one per version, and the spec's latest.

    The sheet of training images that it links to goes beside each.
    """
    content = (artifact.path / REPORT).read_bytes()
    sheet = Path(SHEET)
    sheets = list(artifact.path.glob(f"{sheet.stem}-*{sheet.suffix}"))
    own = report_path(context.reports, registered["model"], registered["version"], context.registry.identity)
    latest = context.reports / f"{spec.name}.html"
    for path in (own, latest) if not (artifact.reused and latest.exists()) else (own,):
        write_atomic(path, content)
        for found in sheets:
            write_atomic(path.with_name(found.name), found.read_bytes())
    return own


def _is_there(registry: ModelRegistry, folder: Path) -> bool:
    """Whether the registry still has the version; somebody may have deleted it, or the whole registry."""
    summary = json.loads((folder / REGISTRATION).read_text())
    return registry.lookup(summary["model"], str(summary["version"])) is not None


def _promote(
    challenger: Challenger, context: RunContext, registry: ModelRegistry, key: str, folder: Path
) -> None:
    from transferflow.stages.register.promote import (
        promote,  # loads torch: not needed where the result is reused
    )

    promote(challenger, context, registry, key, folder)
