"""The optimizer over all parameters, frozen ones included, from the first step on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import nn

from transferflow.training.job import GroupRate, OptimizerSettings


def build_optimizer(
    model: nn.Module, rates: Sequence[GroupRate], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """Build AdamW or SGD with two param groups per rate: what decays and what does not.

    A frozen parameter stands in its group too: its gradient is `None`, and both optimizers leave such a
    parameter wholly alone (no momentum, no decay). Each param group keeps its full rate as `base_lr`.
    """
    groups = build_param_groups(model, rates)
    # The fused kernels take a third of the time on a CPU. They need gradients laid out as their parameters,
    # which autograd's layout contract grants.
    match settings.kind:
        case "adamw":
            return torch.optim.AdamW(groups, betas=settings.betas, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.nesterov, fused=True)
        case _:
            assert_never(settings.kind)


def build_param_groups(model: nn.Module, rates: Sequence[GroupRate]) -> list[dict[str, Any]]:
    """Param groups in model order, each with `name`, `group`, `base_lr`, `lr` and `weight_decay`."""
    parameters = dict(model.named_parameters())
    return [
        {
            "params": [parameters[name] for name in names],
            "name": f"{rate.block}{suffix}",
            "group": rate.group,
            "base_lr": rate.lr,
            "lr": rate.lr,
            "weight_decay": decay,
        }
        for rate in rates
        for names, suffix, decay in (
            (rate.parameters, "", rate.weight_decay),
            (rate.no_decay, " (no decay)", 0.0),
        )
        if names
    ]
