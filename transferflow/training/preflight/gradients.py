"""Whether the gradient reaches every group that trains, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from transferflow.errors import TrainingError
from transferflow.models.layers import LayerGroup
from transferflow.training.job import FreezePhase
from transferflow.training.preflight.contents import Check

_AWAKE = 0.01
_SHOWN = 6


def group_norms(model: nn.Module, groups: Sequence[LayerGroup]) -> dict[str, float | None]:
    """Norm of the gradient over each group with parameters; `None` where no parameter has one."""
    parameters = dict(model.named_parameters())
    found: dict[str, float | None] = {}
    for group in groups:
        gradients = [parameters[name].grad for name in group.parameters]
        there = [gradient for gradient in gradients if gradient is not None]
        if gradients:
            found[group.name] = float(nn.utils.get_total_norm(there)) if there else None
    return found


@contextmanager
def zeros_woken(model: nn.Module) -> Iterator[bool]:
    """Within the block, trained weights that are zero throughout are small random numbers.

    A last layer that starts at zero lets no gradient through before its first step; what is behind it would
    seem to be cut off. Afterwards they have the bits that they had.

    Yields:
        Whether there are any.
    """
    zeros = [p for p in model.parameters() if p.requires_grad and p.ndim > 1 and not bool(p.any())]
    kept = [parameter.detach().clone() for parameter in zeros]
    with torch.no_grad():
        for parameter in zeros:
            parameter.normal_(0, _AWAKE)
    try:
        yield bool(zeros)
    finally:
        with torch.no_grad():
            for parameter, former in zip(zeros, kept, strict=True):
                parameter.copy_(former)


def check_gradients(norms: Mapping[str, float | None], phase: FreezePhase, epochs: int, of: int) -> Check:
    """That the gradient reaches what trains in a phase, and nothing that is frozen.

    Args:
        norms: Norm of the gradient over each group, `None` where there is none.
        phase: Which groups are frozen.
        epochs: Epochs of the training.
        of: First epoch after the phase.

    Raises:
        TrainingError: If a group that trains gets no gradient, or one that is frozen does.
    """
    trained = [name for name in norms if name not in phase.frozen]
    place = f"epochs {phase.first_epoch + 1} to {of}" if of - phase.first_epoch > 1 else f"epoch {of}"
    _require_reach([name for name in trained if not norms[name]], place)
    _require_rest([name for name in norms if name in phase.frozen and norms[name] is not None], place)
    frozen = len(norms) - len(trained)
    expected = "every group that trains" + (f", and none of the {frozen} that are frozen" if frozen else "")
    title = "gradient" if phase.first_epoch == 0 and of == epochs else f"gradient, {place}"
    return Check(title, f"reaches {_named(trained, norms)}", expected)


def _named(trained: Sequence[str], norms: Mapping[str, float | None]) -> str:
    """The groups with the norm of their gradient; the first and the last of many."""
    shown = [f"{name} ({norms[name] or 0.0:.3g})" for name in trained]
    if len(shown) > _SHOWN:
        left = len(shown) - _SHOWN
        shown = [*shown[: _SHOWN - 1], f"{left} more", shown[-1]]
    return ", ".join(shown)


def _require_reach(cut_off: Sequence[str], place: str) -> None:
    if cut_off:
        raise TrainingError(
            "no gradient reaches groups that are to train, so they would stay as they are",
            where=f"preflight, {place}",
            found=", ".join(cut_off),
            allowed="a gradient in each group that trains",
            hint="freeze these groups, if the loss does not depend on them; else a layer behind them lets "
            "nothing through: a frozen head of zeros, activations that are 0 for every image",
        )


def _require_rest(moved: Sequence[str], place: str) -> None:
    if moved:
        raise TrainingError(
            "frozen groups get a gradient",
            where=f"preflight, {place}",
            found=", ".join(moved),
            hint="this is a defect of the model's adapter: please report it",
        )
