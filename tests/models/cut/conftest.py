"""Gradients of a whole model and of the same model played back from its cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.find import find_cut
from transferflow.models.cut.run import compute_prefix, played_back
from transferflow.models.layers import LayerGroup
from transferflow.training.freezing import BatchNormMode, apply_freeze
from transferflow.training.job import FreezePhase

Loss = Callable[[nn.Module, Tensor], Mapping[str, Tensor]]
IMAGES = 3


def freeze_until(
    model: nn.Module, groups: tuple[LayerGroup, ...], last: str, batch_norm: BatchNormMode = "frozen"
) -> None:
    names = [group.name for group in groups]
    frozen = frozenset(names[: names.index(last) + 1])
    apply_freeze(model.train(), groups, FreezePhase(0, frozen), batch_norm)


def step(
    model: nn.Module, loss: Loss, images: Tensor, context: AbstractContextManager[None]
) -> dict[str, Tensor]:
    """Losses, gradients, and buffers as the step leaves them; the model gets its own back."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.zero_grad()
    torch.manual_seed(1)
    with context:
        losses = loss(model, images)
    torch.stack(list(losses.values())).sum().backward()
    found = {f"loss {name}": value.detach() for name, value in losses.items()}
    found |= {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
    return found


def assert_same_step(model: nn.Module, loss: Loss, shape: tuple[int, int, int]) -> Cut:
    """The cut model must take the same step, bit for bit, without seeing an image."""
    cut = find_cut(model, shape)
    assert not isinstance(cut, Uncut), cut.reason
    torch.manual_seed(0)
    images = torch.randn(IMAGES, *shape)
    activations = compute_prefix(cut, model, images)
    assert [tuple(a.shape) for a in activations] == [(IMAGES, *shape) for shape in cut.shapes]
    whole = step(model, loss, images, nullcontext())
    nothing = torch.full((), torch.nan).expand(images.shape)
    parts = step(model, loss, nothing, played_back(cut, model, activations))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0, atol=0, msg=name)
    assert 0 < cut.operations <= cut.all_operations
    return cut


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., Cut]:
    return assert_same_step


@pytest.fixture(scope="session")
def freeze() -> Callable[..., None]:
    return freeze_until
