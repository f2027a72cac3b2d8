"""A training that can be watched: its points go to a spool, and a process ships them meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace

from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import registered_model
from transferflow.stages.context import RunContext
from transferflow.training.job import TrainingResult, TrainJob
from transferflow.training.loop.run import train
from transferflow.training.tracking.helper import Helper
from transferflow.training.tracking.hook import PATIENCE_SECONDS, TrackingHook
from transferflow.training.tracking.spool import Spool

SHIP = "transferflow.stages.train.ship"


def train_watched(job: TrainJob, spec: ExperimentSpec, context: RunContext, key: str) -> TrainingResult:
    """Train; see `training.loop.run.train`. Of several processes rank 0 tells what there is to see.

    Args:
        job: What to train.
        spec: Its `tracking` section, and how model and run are called.
        context: Surroundings of the run.
        key: Key of the train stage.
    """
    asked = spec.tracking
    if job.ranks.rank > 0 or not (asked.mlflow or asked.tensorboard):
        return train(job)
    helper = Helper(("-m", SHIP, json.dumps(_hand_over(spec, context, key))))
    patience = PATIENCE_SECONDS
    if asked.tensorboard:
        patience = 0.0  # its files are wanted of a short training, too
    hook = TrackingHook(Spool(context.points(key)), _rates(job), helper, patience)
    finished = False
    try:
        result = train(replace(job, hooks=(*job.hooks, hook)))
        hook.complete(result.history)
        finished = True
    finally:
        helper.end(finished=finished)
    return result


def _rates(job: TrainJob) -> dict[str, float]:
    """What each group that ever trains has for a rate, over that of the head, of which the loop tells."""
    never = frozenset.intersection(*(phase.frozen for phase in job.freeze.phases))
    head = job.rates[-1].lr
    return {rate.block: rate.lr / head for rate in job.rates if rate.group not in never}


def _hand_over(spec: ExperimentSpec, context: RunContext, key: str) -> dict[str, object]:
    return {
        "home": str(context.home.absolute()),
        "tracking_uri": context.tracking_uri,
        "model": registered_model(spec),
        "run_name": spec.name,
        "train_key": key,
        "mlflow": spec.tracking.mlflow,
        "event_files": f"{spec.name}/{key[:12]}" if spec.tracking.tensorboard else None,
    }
