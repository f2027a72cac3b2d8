"""What trains at which epoch, and making it so: a frozen group neither learns nor drifts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, assert_never

from torch import nn

from transferflow.errors import PlanError
from transferflow.models.layers import LayerGroup, is_batch_norm
from transferflow.spec.sections.freeze import (
    Freeze,
    FreezeBackbone,
    FreezeLayers,
    FreezeNone,
    FreezePhases,
    FreezeUntil,
)
from transferflow.training.job import FreezePhase, FreezeSchedule
from transferflow.training.patterns import match_rules

BatchNormMode = Literal["frozen", "train", "all_frozen"]


def compile_freeze(freeze: Freeze, groups: Sequence[LayerGroup], epochs: int) -> FreezeSchedule:
    """Resolve the freeze policy against a model's layer groups.

    Args:
        freeze: The spec section.
        groups: The model's layer groups, from input to output.
        epochs: Epochs of the training.

    Raises:
        PlanError: If rules name groups that are not there (a problem for each), a phase starts after the end
            of training, or nothing trains in a phase.
    """
    phases = _phases(freeze, groups)
    late = next((phase for phase in phases if phase.first_epoch >= epochs), None)
    if late is not None:
        raise PlanError(
            f"a phase starts after epoch {late.first_epoch}, and training has {epochs} epochs",
            where="freeze.phases",
            hint="raise training.epochs, or shorten the phases before it",
        )
    sizes = {group.name: len(group.parameters) for group in groups}
    for phase in phases:
        if sum(size for name, size in sizes.items() if name not in phase.frozen) == 0:
            raise PlanError(
                f"nothing trains from epoch {phase.first_epoch + 1} on",
                where="freeze",
                found=f"frozen: {', '.join(name for name in sizes if name in phase.frozen)}",
                hint="leave at least one group with parameters out of the frozen set, such as the head",
            )
    return FreezeSchedule(phases, freeze.batch_norm)


def _phases(freeze: Freeze, groups: Sequence[LayerGroup]) -> tuple[FreezePhase, ...]:
    names = [group.name for group in groups]
    match freeze:
        case FreezeNone():
            return (FreezePhase(0, frozenset()),)
        case FreezeBackbone():
            return (FreezePhase(0, frozenset(g.name for g in groups if g.part == "backbone")),)
        case FreezeUntil(until=until):
            last = match_rules([(("freeze", "until"), until)], groups)[until][-1]
            return (FreezePhase(0, frozenset(names[: names.index(last) + 1])),)
        case FreezeLayers(layers=layers):
            rules = [(("freeze", "layers", number), rule) for number, rule in enumerate(layers)]
            found = match_rules(rules, groups)
            return (FreezePhase(0, frozenset(name for match in found.values() for name in match)),)
        case FreezePhases():
            return _gradual(freeze, groups)
        case _:
            assert_never(freeze)


def _gradual(freeze: FreezePhases, groups: Sequence[LayerGroup]) -> tuple[FreezePhase, ...]:
    rules = [
        (("freeze", "phases", number, "train", place), rule)
        for number, phase in enumerate(freeze.phases)
        for place, rule in enumerate(phase.train)
    ]
    found = match_rules(rules, groups)
    first, phases = 0, []
    for phase in freeze.phases:
        trains = {name for rule in phase.train for name in found[rule]}
        frozen = frozenset(group.name for group in groups if group.name not in trains)
        phases.append(FreezePhase(first, frozen, phase.lr_scale))
        first += phase.epochs
    return tuple(phases)


def apply_freeze(
    model: nn.Module, groups: Sequence[LayerGroup], phase: FreezePhase, batch_norm: BatchNormMode
) -> None:
    """Set `requires_grad` and module modes for a phase; call it after every `model.train()`.

    Frozen groups are put in eval mode whole, dropout and stochastic depth included, so that what they
    compute for an image is fixed.

    Args:
        model: The model, in train mode.
        groups: Its layer groups.
        phase: What is frozen.
        batch_norm: `frozen`: running statistics of frozen groups are kept; `train`: updated everywhere;
            `all_frozen`: kept in every group.
    """
    parameters = dict(model.named_parameters())
    for group in groups:
        is_frozen = group.name in phase.frozen
        for name in group.parameters:
            parameters[name].requires_grad_(not is_frozen)
        if is_frozen:
            for path in group.modules:
                model.get_submodule(path).eval()
    frozen = [group for group in groups if group.name in phase.frozen and group.part == "backbone"]
    _rest_containers(model, {id(parameters[name]) for group in frozen for name in group.parameters})
    if batch_norm == "frozen":
        return
    for module in model.modules():
        if is_batch_norm(module):
            module.train(batch_norm == "train")


def _rest_containers(model: nn.Module, frozen: Collection[int]) -> None:
    """Put what holds several groups in eval mode too, once all of them are frozen.

    Some models drop features out in their own `forward`, by their own flag (timm's GhostNet).

    Args:
        model: The model.
        frozen: Identities of the frozen parameters.
    """
    if _is_frozen(model, frozen):
        model.eval()


def _is_frozen(module: nn.Module, frozen: Collection[int]) -> bool | None:
    """Whether all of a module's parameters are frozen; `None`: it has none.

    Of a module that is not, the parts that are come to rest.
    """
    own = [id(parameter) in frozen for parameter in module.parameters(recurse=False)]
    parts = [(child, _is_frozen(child, frozen)) for child in module.children()]
    found = own + [is_frozen for _, is_frozen in parts if is_frozen is not None]
    if found and not all(found):
        for child, is_frozen in parts:
            if is_frozen:
                child.eval()
    return all(found) if found else None


def busiest_phase(groups: Sequence[LayerGroup], phases: Sequence[FreezePhase]) -> int:
    """Number of the phase in which the most trains, the first of them."""
    sizes = {group.name: len(group.parameters) for group in groups}
    trained = [sum(n for name, n in sizes.items() if name not in phase.frozen) for phase in phases]
    return trained.index(max(trained))


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """Put modes and what wants a gradient back after the block."""
    modes: Sequence[tuple[nn.Module, bool]] = [(module, module.training) for module in model.modules()]
    wants = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in wants:
            parameter.requires_grad_(wanted)
