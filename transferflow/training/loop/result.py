"""What a training comes to."""

from __future__ import annotations

import torch

from transferflow.training.device import device_name
from transferflow.training.job import FreezeSchedule, TrainingResult, TrainJob
from transferflow.training.state import LoopState


def build_result(
    job: TrainJob, state: LoopState, phases: FreezeSchedule, device: torch.device
) -> TrainingResult:
    """Sum up a finished training.

    Args:
        job: What was trained.
        state: How it stands.
        phases: As they came.
        device: On which.
    """
    settings = job.settings
    return TrainingResult(
        history=state.history,
        best_epoch=state.best_epoch,
        best_value=state.history[state.best_epoch][settings.metric],
        proofs=state.proofs,
        precision=", then ".join(state.precisions),
        device=device_name(device),
        stopped_early=state.epochs < settings.epochs,
        phases=phases.phases,
        micro_batch=state.micro_batch,
        devices=job.ranks.world,
    )
