"""Trains a spec's model here, in another process, or in a process for each of several devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from transferflow.data.snapshot.build import load_snapshot
from transferflow.machine import machine_faults_named
from transferflow.registry.base import RegisteredVersion
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import training_devices, trains_nothing
from transferflow.stages.context import RunContext
from transferflow.stages.progress import logger
from transferflow.stages.train.assembly import FitInputs
from transferflow.stages.train.fit import fit
from transferflow.training.device import check_devices, pick_device
from transferflow.training.distributed.launch import Launch, launch
from transferflow.training.ranks import Ranks

RANK = "transferflow.stages.train.rank"


def require_devices(spec: ExperimentSpec) -> None:
    """Refuse a spec that wants more devices than this machine has.

    Raises:
        PlanError: If it does.
    """
    training = spec.training
    device, gpus = pick_device(training.device), torch.cuda.device_count()
    check_devices(training_devices(spec), training.device, device, gpus, training.sync_batch_norm)


def fit_on_devices(given: FitInputs) -> None:
    """Train on as many devices as the spec says; see `fit`.

    Raises:
        PlanError: If they can't be had.
    """
    spec = given.spec
    devices = 1 if trains_nothing(spec) else training_devices(spec)
    if devices == 1 and (trains_nothing(spec) or not given.context.apart):
        fit(given)
        return
    plan = plan_launch(spec)
    if devices > 1:
        logger.info("train: %d devices, a process for each", devices)
    launch(plan, hand_over(given))


def plan_launch(spec: ExperimentSpec) -> Launch:
    """The processes of this machine.

    Raises:
        PlanError: If its devices can't be had.
    """
    require_devices(spec)
    return Launch(
        words=("-P", "-m", RANK),
        devices=training_devices(spec),
        device=pick_device(spec.training.device).type,
        max_restarts=spec.training.max_restarts,
    )


def fit_handed_over(job: Mapping[str, Any], ranks: Ranks) -> None:
    """Take part in the training that `fit_on_devices` has handed over."""
    context = RunContext(Path(job["home"]), job["tracking_uri"], interactive=job["interactive"])
    start = None
    if job["start"] is not None:
        start = RegisteredVersion(**job["start"] | {"aliases": tuple(job["start"]["aliases"])})
    with machine_faults_named(context.home):
        given = FitInputs(
            ExperimentSpec.model_validate(job["spec"]),
            context,
            load_snapshot(Path(job["snapshot"])),
            start,
            Path(job["work"]),
            Path(job["folder"]),
        )
        fit(given, ranks)


def hand_over(given: FitInputs) -> dict[str, Any]:
    """The inputs of `fit` as plain JSON, which `fit_handed_over` takes."""
    return {
        "spec": given.spec.model_dump(mode="json"),
        "home": str(given.context.home.absolute()),
        "tracking_uri": given.context.tracking_uri,
        "interactive": given.context.interactive,
        "snapshot": str(given.snapshot.path.absolute()),
        "start": None if given.start is None else asdict(given.start),
        "work": str(given.work.absolute()),
        "folder": str(given.folder.absolute()),
    }
