"""What a model begins with and nothing has trained: no checkpoint needs to hold it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transferflow.errors import StoreError
from transferflow.models.layers import LayerGroup
from transferflow.training.checkpoints.contents import Tensors
from transferflow.training.job import FreezeSchedule
from transferflow.training.proof import digest_tensor, frozen_tensors


@dataclass(frozen=True)
class Start:
    """Tensors that are frozen from the first epoch on, as the job has brought them.

    Checkpoints leave them out for as long as they stay frozen: whoever goes on from one has built the same
    model, which the digests prove.

    Attributes:
        digests: sha256 (hex) of each, by name.
        tensors: The tensors: the model's own where they never train, else copies on the CPU.
        untouched: By number of the planned phase, names of those that were frozen in it and in all before.
    """

    digests: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    untouched: Sequence[frozenset[str]]

    def untouched_at(self, epoch: int, phases: FreezeSchedule) -> frozenset[str]:
        """Names of the tensors that nothing has trained up to an epoch, in the phases as they came."""
        begun = sum(phase.first_epoch <= epoch for phase in phases.phases)
        return self.untouched[begun - 1]

    def complete(self, tensors: Tensors) -> Tensors:
        """A state dict with what was left out of it."""
        return {**self.tensors, **tensors}

    def require(self, digests: Mapping[str, str]) -> None:
        """Refuse a checkpoint that has left out other tensors.

        Args:
            digests: Of the tensors that its training began with.

        Raises:
            StoreError: If one is not what it was.
        """
        if digests != self.digests:
            raise StoreError("the model does not begin with the weights that it began with then")


def keep_start(model: nn.Module, groups: Sequence[LayerGroup], freeze: FreezeSchedule) -> Start:
    """Keep what a model begins with; nothing of it has been trained yet.

    Args:
        model: On its device, where its tensors stay.
        groups: Its layer groups.
        freeze: Its phases as planned; patience may end one early, and leaves none out.
    """
    frozen = [frozen_tensors(model, groups, phase.frozen, freeze.batch_norm) for phase in freeze.phases]
    untouched = [frozenset(frozen[0])]
    for phase in frozen[1:]:
        untouched.append(untouched[-1] & phase.keys())
    tensors = {
        name: tensor if name in untouched[-1] else copy_of(tensor) for name, tensor in frozen[0].items()
    }
    return Start({name: digest_tensor(tensor) for name, tensor in frozen[0].items()}, tensors, untouched)


def tensors_of(model: nn.Module, without: Collection[str] = ()) -> Tensors:
    """State dict as tensors that stand alone: on the CPU, contiguous, none shares memory with another.

    Args:
        model: The model.
        without: Names to leave out.
    """
    return {
        name: copy_of(tensor)
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor) and name not in without
    }


def copy_of(tensor: Tensor) -> Tensor:
    """A tensor that stands alone: on the CPU, contiguous."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
