"""The rate of every group in every epoch of a plan."""

from __future__ import annotations

from transferflow.data.loading.order import batches_in_epoch
from transferflow.stages.plan.compile import Plan
from transferflow.stages.train.settings import optimizer_settings
from transferflow.training.rate_plan import RateRow, rate_table


def epoch_rates(plan: Plan) -> tuple[RateRow, ...]:
    """The rate of every group in every epoch, as the optimizer will hold it."""
    steps = batches_in_epoch(plan.images.get("train", 0), plan.spec.training.batch_size, train=True)
    return rate_table(
        plan.training.rates,
        plan.training.freeze,
        optimizer_settings(plan.spec),
        plan.spec.training.epochs,
        max(1, steps),
    )
