"""The preflight of a spec: its first batch, looked at before the first epoch, and a sheet of its images."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from transferflow.data.loading.batch import Batch
from transferflow.data.loading.target_checks import check_targets
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import load_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.stages.artifacts import PREFLIGHT, SHEET
from transferflow.stages.context import RunContext
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import StageOutcome
from transferflow.stages.progress import logger
from transferflow.stages.train.assembly import Assembly, FitInputs, assemble
from transferflow.stages.train.job import TrainingImages
from transferflow.stages.train.key import complete_train_inputs
from transferflow.stages.train.sample_pictures import write_training_sheet
from transferflow.store import write_atomic
from transferflow.training.checkpoints.folder import has_checkpoints
from transferflow.training.preflight.contents import Check, Preflight
from transferflow.training.preflight.look import look_before
from transferflow.training.preflight.pixels import check_pixels
from transferflow.training.ranks import ALONE, Ranks

IMAGES, EPOCHS = 12, 3
"""Images on the sheet, and variations of each."""
_LONG = 5.0
"""Seconds of loading a batch beside which libraries load in no time."""
_TOLD = ("loss", "gradient", "time", "memory")
"""Checks that are told while a person waits, whatever they find."""


def look_before_first_epoch(given: FitInputs, ready: Assembly, ranks: Ranks) -> None:
    """Look at the first batch, say what was found, and keep it in the work folder; a resume has done so.

    Args:
        given: What is trained.
        ready: What is about to begin.
        ranks: The processes that train the model together; all of them look at their share.

    Raises:
        DataError: If a target is none that the model can learn.
        TrainingError: If the gradient does not reach what trains, or the loss is not finite.
    """
    if ranks.share(has_checkpoints(given.work)):
        return
    sheet = given.work / SHEET if ranks.rank == 0 else None
    found = _look(given.spec, given.snapshot, ready, sheet)
    if ranks.rank == 0:
        write_atomic(given.work / PREFLIGHT, json.dumps(found.to_json(), indent=2))
        _tell(found)


def keep_preflight(work: Path, folder: Path) -> None:
    """Put what was found before the first epoch beside the trained model.

    Args:
        work: Where it was kept while the model was trained.
        folder: Of the model.
    """
    for name in (PREFLIGHT, SHEET):
        if (work / name).exists():
            shutil.copyfile(work / name, folder / name)


def read_preflight(folder: Path) -> Preflight | None:
    """What was found before the training of a model; `None` where nobody looked."""
    path = folder / PREFLIGHT
    return Preflight.from_json(json.loads(path.read_text())) if path.exists() else None


def preflight(spec: ExperimentSpec, context: RunContext, prepared: StageOutcome) -> tuple[Preflight, Path]:
    """Look at a spec's first batch, and train nothing.

    Args:
        spec: What would be trained; on several devices, this process looks at the share of the first.
        context: Surroundings of the run.
        prepared: What it would be trained on.

    Returns:
        What was found, and the sheet of training images.

    Raises:
        DataError: If a target is none that the model can learn.
        TrainingError: If the gradient does not reach what trains, or the loss is not finite.
    """
    snapshot = load_snapshot(prepared.folder)
    require_known_classes(spec, snapshot.classes)
    start = complete_train_inputs(spec, context, snapshot).start
    sheet = context.reports / f"{spec.name}-{SHEET}"
    with tempfile.TemporaryDirectory() as name:
        given = FitInputs(spec, context, snapshot, start, Path(name), Path(name))
        found = _look(spec, snapshot, assemble(given, ALONE), sheet)
    return found, sheet


def _look(spec: ExperimentSpec, snapshot: DatasetSnapshot, ready: Assembly, sheet: Path | None) -> Preflight:
    images, job = ready.images, ready.job
    batch, seconds = _first_batch(images)
    targets = check_targets(batch, spec.task.truth, snapshot.classes)
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        varied = images.train.dataset
        write_training_sheet(
            sheet, spec, snapshot, images.transform, images=IMAGES, epochs=EPOCHS, varied=varied
        )
    found = look_before(job, batch, seconds, is_cached=job.train_loader is not images.train)
    stands = Check("targets", targets.found, targets.expected, targets.warning)
    return replace(found, checks=(check_pixels(batch.images), stands, *found.checks))


def _first_batch(images: TrainingImages) -> tuple[Batch, float]:
    """The first batch, and the time that each step will wait for its images.

    It is loaded twice, as the first time loads libraries too, unless it takes long.
    """
    waited: list[float] = []
    while True:
        started = time.perf_counter()
        (batch,) = images.train.epoch(0, 0, 1)
        waited.append(time.perf_counter() - started)
        if images.train.workers or len(waited) == 2 or waited[0] > _LONG:
            return batch, 0.0 if images.train.workers else min(waited)


def _tell(found: Preflight) -> None:
    for check in found.checks:
        if check.name.split(",")[0] in _TOLD:
            is_loss = check.name.startswith("loss") and check.expected
            beside = f" (expected: {check.expected})" if is_loss else ""
            logger.info("preflight: %s: %s%s", check.name, check.found, beside)
    for warning in found.warnings:
        logger.warning("warning: %s", warning)
