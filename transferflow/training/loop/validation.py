"""Measuring the weights of a training between its epochs."""

from __future__ import annotations

import math

import torch
from torch import nn

from transferflow.training.job import TrainJob
from transferflow.training.loop.wording import errors_in_words, no_metric


def validate(job: TrainJob, kept: nn.Module, epoch: int) -> dict[str, float]:
    """Metrics after an epoch (from 0).

    Args:
        job: The training.
        kept: Its model, or the moving average; in eval mode afterwards.
        epoch: Which.

    Raises:
        TrainingError: If the watched metric is missing or no number, or memory runs out.
    """
    kept.eval()
    job.ranks.copy_first(kept.buffers())  # running statistics are of each device's own images
    with torch.no_grad(), errors_in_words():
        values = {name: float(value) for name, value in job.validate(kept).items()}
    metric = job.settings.metric
    if metric not in values or math.isnan(values[metric]):
        raise no_metric(metric, values, epoch, job.metric_needs)
    return values
