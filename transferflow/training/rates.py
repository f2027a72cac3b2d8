"""Learning rate and weight decay of every parameter: pure, and total over the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from torch import nn

from transferflow.errors import PlanError
from transferflow.models.layers import LayerGroup, head_distances
from transferflow.spec.sections.optimizer import AdamW, Sgd
from transferflow.training.job import GroupRate
from transferflow.training.patterns import match_rules

TOKENS = frozenset(
    {"cls_token", "class_token", "dist_token", "reg_token", "register_tokens", "mask_token", "storage_tokens"}
    | {"pos_embed", "pos_embedding", "positional_embedding", "relative_position_bias_table"}
    | {"layer_scale", "gamma", "gamma_1", "gamma_2", "logit_scale"}
)
"""Parameters of more than one dimension that are tokens, positions or scales, not weights."""


def decide_rates(
    model: nn.Module, groups: Sequence[LayerGroup], optimizer: AdamW | Sgd, *, backbone_scale: float
) -> tuple[GroupRate, ...]:
    """Give each block its learning rate, and each parameter its place.

    `layer_lr` wins; else `layer_decay` (equal to timm's `param_groups_layer_decay`; Bao et al.,
    arXiv:2106.08254); else the backbone's scale. Norms, biases, tokens and what timm's
    `no_weight_decay()` names do not decay.

    Args:
        model: The model; the meta device will do.
        groups: Its layer groups, from input to output.
        optimizer: The spec section.
        backbone_scale: Multiplies `lr` in groups of the backbone, where no other rule holds.

    Returns:
        One entry per group, or per block where rates differ inside a group; entries without parameters
        are left out.

    Raises:
        PlanError: If rules match no group (a problem for each), two contradict each other, or a parameter of
            the model does not stand in just one group.
    """
    _check_total(model, groups)
    absolute = _absolute_rates(groups, optimizer.layer_lr)
    no_decay = frozenset(_without_decay(model))
    rates: list[GroupRate] = []
    for group, distances in zip(groups, head_distances(groups), strict=True):
        scale = backbone_scale if group.part == "backbone" else 1.0
        block_rates = [
            absolute.get(
                group.name,
                optimizer.lr * (scale if optimizer.layer_decay is None else optimizer.layer_decay**distance),
            )
            for distance in distances
        ]
        rates += _rates_of_group(group, block_rates, optimizer.weight_decay, no_decay)
    return tuple(rates)


def _rates_of_group(
    group: LayerGroup, block_rates: Sequence[float], weight_decay: float, no_decay: frozenset[str]
) -> list[GroupRate]:
    """Entries of one group: neighbouring blocks of one rate are one entry."""
    runs = [
        (lr, [block for _, block in run])
        for lr, run in groupby(zip(block_rates, group.blocks, strict=True), key=lambda pair: pair[0])
    ]
    entries: list[GroupRate] = []
    for lr, blocks in runs:
        names = [name for block in blocks for name in block.parameters]
        if not names:
            continue
        entries.append(
            GroupRate(
                group=group.name,
                block=group.name if len(runs) == 1 else blocks[0].name,
                lr=lr,
                weight_decay=weight_decay,
                parameters=tuple(name for name in names if name not in no_decay),
                no_decay=tuple(name for name in names if name in no_decay),
            )
        )
    return entries


def _absolute_rates(groups: Sequence[LayerGroup], layer_lr: Mapping[str, float]) -> dict[str, float]:
    """Rate of each group that `layer_lr` names; a name wins over a pattern.

    Raises:
        PlanError: If rules match nothing, or two patterns give a group two rates.
    """
    matched = match_rules([(("optimizer", "layer_lr", rule), rule) for rule in layer_lr], groups)
    found: dict[str, float] = {}
    for group in groups:
        rules = [rule for rule, names in matched.items() if group.name in names]
        rules = [rule for rule in rules if rule == group.name] or rules
        rates = {layer_lr[rule] for rule in rules}
        if len(rates) > 1:
            raise PlanError(
                f"{' and '.join(rules)} give the layer group {group.name} different rates",
                where="optimizer.layer_lr",
                found=", ".join(f"{rule}: {layer_lr[rule]:g}" for rule in rules),
                hint=f"name {group.name} itself: a name wins over a pattern",
            )
        if rates:
            found[group.name] = rates.pop()
    return found


def _without_decay(model: nn.Module) -> list[str]:
    """Parameters that do not decay: biases, norms and all else of one dimension, tokens, timm's own list."""
    patterns: list[str] = []
    for path, module in model.named_modules():
        listed = getattr(module, "no_weight_decay", None)
        if callable(listed):
            patterns += [f"{path}.{name}" if path else name for name in listed()]
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim <= 1
        or name.endswith(".bias")
        or name.rpartition(".")[2] in TOKENS
        or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _check_total(model: nn.Module, groups: Sequence[LayerGroup]) -> None:
    names = {name for name, _ in model.named_parameters()}
    counted = Counter(name for group in groups for name in group.parameters)
    for what, wrong in (
        ("parameters stand in no layer group", names - set(counted)),
        ("layer groups list parameters that the model has not", set(counted) - names),
        ("parameters stand in two layer groups", {name for name, count in counted.items() if count > 1}),
    ):
        if wrong:
            raise PlanError(
                f"the model does not declare its layers well: {what}",
                found=", ".join(sorted(wrong)[:8]),
                hint="this is a defect of the backbone's adapter, not of your spec: please report it",
            )
