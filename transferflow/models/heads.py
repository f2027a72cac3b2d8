"""Heads for whole images: how they start, what they keep when classes are added, and their unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.errors import WeightsError

LAST = "classifier"
UNIT = "unit"


def build_head(
    num_features: int, num_classes: int, *, dropout: float, hidden: Sequence[int], zero: bool
) -> nn.Sequential:
    """Build `[hidden, relu] x len(hidden), dropout, classifier`.

    Args:
        num_features: Width of the backbone's pooled features.
        num_classes: Outputs.
        dropout: Dropout before the last layer, 0..1; none at 0.
        hidden: Widths of hidden layers.
        zero: Start the last layer at zero: every class equally likely.
    """
    head = nn.Sequential()
    width = num_features
    for number, wider in enumerate(hidden):
        head.add_module(f"hidden{number}", nn.Linear(width, wider))
        head.add_module(f"relu{number}", nn.ReLU())
        width = wider
    if dropout:
        head.add_module("dropout", nn.Dropout(dropout))
    last = nn.Linear(width, num_classes)
    if zero:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    head.add_module(LAST, last)
    return head


class Unit(nn.Module):
    """Leads a standardised output to the unit of the data: x * scale + offset, in float32.

    Attributes:
        offset: The mean of what is predicted.
        scale: Its standard deviation.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, standardised: Tensor) -> Tensor:
        """The same in the unit of the data."""
        return standardised.float() * self.scale + self.offset


def apply_temperature(head: nn.Module, temperature: float) -> None:
    """Divide the logits of a head of `build_head` by a temperature, by its last layer's weights.

    Args:
        head: From `build_head`.
        temperature: Above 0.
    """
    last = head.get_submodule(LAST)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.div_(temperature)


def apply_units(head: nn.Module, *, offset: float, scale: float) -> None:
    """Let a head of `build_head` answer in a unit; what it had before is replaced.

    Args:
        head: From `build_head`.
        offset: The mean of what is predicted.
        scale: Its standard deviation, above 0.
    """
    unit = getattr(head, UNIT, None)
    if not isinstance(unit, Unit):
        unit = Unit()
        head.add_module(UNIT, unit)
    unit.offset.fill_(offset)
    unit.scale.fill_(scale)


def last_layer(head: nn.Module) -> nn.Linear:
    """The layer whose rows are the classes.

    Raises:
        WeightsError: If it is no head made by `build_head`.
    """
    last = head.get_submodule(LAST) if hasattr(head, LAST) else None
    if not isinstance(last, nn.Linear):
        raise WeightsError("the head has no linear classifier", found=type(head).__name__)
    return last


@torch.no_grad()
def set_prototypes(head: nn.Module, features: Tensor, labels: Tensor) -> None:
    """Start the last layer at the class means of the features: a nearest-mean classifier.

    For unit-variance features, logits w_k·x + b_k with w_k = m_k - m and b_k = -(|m_k|² - |m|²) / 2 rank the
    classes by distance to their means m_k (Snell et al., arXiv:1703.05175). The rows are scaled so that the
    logits of the given features have unit variance. Classes without an image keep a zero row.

    Args:
        head: From `build_head`.
        features: N x num_features: the backbone's pooled features of training images.
        labels: N class indices, or N x classes of zeros and ones (multilabel).
    """
    last = last_layer(head)
    inner = _before_last(head, features)
    members = labels.float() if labels.ndim == 2 else F.one_hot(labels, last.out_features).float()
    counts = members.sum(0)
    means = members.T @ inner / counts.clamp(min=1).unsqueeze(1)
    centre = inner.mean(0)
    weight = torch.where(counts.unsqueeze(1) > 0, means - centre, torch.zeros_like(means))
    bias = -((weight * (means + centre)).sum(1)) / 2
    scale = (inner @ weight.T + bias).std().clamp(min=1e-6)
    last.weight.copy_(weight / scale)
    last.bias.copy_(bias / scale)


@torch.no_grad()
def carry_rows(
    head: nn.Module, old_state: Mapping[str, Tensor], old_classes: Sequence[str], new_classes: Sequence[str]
) -> tuple[str, ...]:
    """Copy the rows of an earlier head by class name; hidden layers are copied whole.

    Args:
        head: The new head.
        old_state: `state_dict()` of the earlier head.
        old_classes: Its class names in order.
        new_classes: Class names of the new head in order.

    Returns:
        Names of the classes whose rows were carried over; the others keep their start.

    Raises:
        WeightsError: If the earlier head has other widths.
    """
    last = last_layer(head)
    state = head.state_dict()
    inner = {key for key in state if not key.startswith(f"{LAST}.")}
    old_weight, old_bias = old_state.get(f"{LAST}.weight"), old_state.get(f"{LAST}.bias")
    same_inside = inner == {key for key in old_state if not key.startswith(f"{LAST}.")} and all(
        old_state[key].shape == state[key].shape for key in inner
    )
    if (
        old_weight is None
        or old_bias is None
        or not same_inside
        or old_weight.shape != (len(old_classes), last.in_features)
    ):
        raise WeightsError(
            "the earlier head does not fit the new one",
            where="head.warm_start",
            found=_widths(old_state),
            allowed=_widths(state),
            hint="keep backbone.name and head.hidden as they were, or leave warm_start out",
        )
    head.load_state_dict({key: old_state[key] for key in inner}, strict=False)
    rows = {name: number for number, name in enumerate(old_classes)}
    kept = [(number, rows[name]) for number, name in enumerate(new_classes) if name in rows]
    for new, old in kept:
        last.weight[new] = old_weight[old]
        last.bias[new] = old_bias[old]
    return tuple(new_classes[new] for new, _ in kept)


def _before_last(head: nn.Module, features: Tensor) -> Tensor:
    """What the last layer sees; dropout off."""
    x = features.float()
    for name, module in head.named_children():
        if name != LAST and not isinstance(module, nn.Dropout):
            x = module(x)
    return x


def _widths(state: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{key} {tuple(value.shape)}" for key, value in state.items() if key.endswith("weight"))
