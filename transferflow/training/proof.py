"""The freeze proof: digests of everything in a frozen group, before and after it was frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from transferflow.errors import PlanError, TrainingError
from transferflow.models.layers import LayerGroup, is_batch_norm
from transferflow.store import digest
from transferflow.training.freezing import BatchNormMode
from transferflow.training.job import FreezePhase, FreezeSchedule, PhaseProof
from transferflow.training.ranks import Ranks

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def tensor_digests(
    model: nn.Module,
    groups: Sequence[LayerGroup],
    names: Collection[str],
    batch_norm: BatchNormMode = "frozen",
    known: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Digest parameters and buffers of some groups.

    Args:
        model: The model.
        groups: Its layer groups.
        names: Groups to digest.
        batch_norm: With `train`, running statistics of batch norm are left out: they do change. With
            `all_frozen`, those of all other groups are in it too.
        known: Digests that were taken just now, and are not taken again.

    Returns:
        sha256 (hex) of each tensor, by its name in the state dict.
    """
    found = frozen_tensors(model, groups, names, batch_norm)
    return {name: known[name] if name in known else digest_tensor(tensor) for name, tensor in found.items()}


def frozen_tensors(
    model: nn.Module, groups: Sequence[LayerGroup], names: Collection[str], batch_norm: BatchNormMode
) -> dict[str, Tensor]:
    """Parameters and buffers that keep every bit while some groups are frozen, see `tensor_digests`."""
    statistics = set(_running_statistics(model))
    chosen = set(_tensors(model, groups, names))
    if batch_norm == "train":
        chosen -= statistics
    elif batch_norm == "all_frozen":
        chosen |= statistics
    return {name: tensor for name, tensor in model.state_dict().items() if name in chosen}


def require_same_model(ranks: Ranks, model: nn.Module, proof: PhaseProof) -> None:
    """Prove that all devices have trained one model; running statistics may be of each one's images.

    Args:
        ranks: All of them call this.
        model: What this one has.
        proof: Of the phase that has ended.

    Raises:
        TrainingError: At rank 0, if another one has other weights.
    """
    if ranks.world > 1:
        weights = {name: digest_tensor(parameter) for name, parameter in model.named_parameters()}
        mine = json.dumps({"frozen tensors": proof.after, "weights": digest(weights)})
        for rank, other in enumerate(ranks.gather(mine.encode())):
            if other != mine.encode():
                raise _grown_apart(rank, json.loads(mine), json.loads(other))


def _grown_apart(rank: int, first: Mapping[str, str], other: Mapping[str, str]) -> TrainingError:
    parts = " and ".join(name for name in first if first[name] != other[name])
    return TrainingError(
        "the devices have not trained the same model",
        found=f"{parts} of device {rank} are not those of device 0",
        hint="this is a defect, of the model's adapter or of a device: report it, and train on one device",
    )


def count_left_out(
    model: nn.Module, groups: Sequence[LayerGroup], names: Collection[str], batch_norm: BatchNormMode
) -> int:
    """Tensors of frozen groups that the proof can't cover, because `batch_norm: train` updates them."""
    if batch_norm != "train":
        return 0
    return len(_tensors(model, groups, names).keys() & set(_running_statistics(model)))


def close_phase(
    phase: FreezePhase,
    last_epoch: int,
    before: Mapping[str, str],
    after: Mapping[str, str],
    left_out: int,
) -> PhaseProof:
    """Compare what was frozen before and after a phase.

    Raises:
        TrainingError: If a frozen tensor has changed; names the tensors.
    """
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        more = f" and {len(changed) - 8} more" if changed[8:] else ""
        raise TrainingError(
            f"{len(changed)} frozen tensors changed in epochs {phase.first_epoch + 1} to {last_epoch + 1}",
            found=", ".join(changed[:8]) + more,
            allowed="what is frozen keeps every bit",
            hint="the model writes to its own weights or buffers: this is a defect of its adapter, report it",
        )
    return PhaseProof(
        first_epoch=phase.first_epoch,
        last_epoch=last_epoch,
        groups=tuple(sorted(phase.frozen)),
        tensors=len(before),
        before=digest(dict(before)),
        after=digest(dict(after)),
        left_out=left_out,
    )


def require_separable(model: nn.Module, groups: Sequence[LayerGroup], schedule: FreezeSchedule) -> None:
    """Refuse to freeze a group that computes with parameters of one that trains (timm's CoaT shares modules).

    Raises:
        PlanError: If one is frozen so; names both groups.
    """
    shared = dict.fromkeys(_shared_groups(model, groups))
    for phase in schedule.phases:
        for user, owner in shared:
            if user in phase.frozen and owner not in phase.frozen:
                raise PlanError(
                    f"{user} shares parameters with {owner}, which trains: it would not stay as it is",
                    where="freeze",
                    found=f"{user} frozen and {owner} not, from epoch {phase.first_epoch + 1} on",
                    allowed="freeze both or neither",
                )


def _shared_groups(model: nn.Module, groups: Sequence[LayerGroup]) -> Iterator[tuple[str, str]]:
    """Each group that holds a parameter of another one under a second name, and that other group."""
    first_names = {id(parameter): name for name, parameter in model.named_parameters()}
    owners = {name: group.name for group in groups for name in group.parameters}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name == first_names[id(parameter)]:
            continue
        owner = owners[first_names[id(parameter)]]
        yield from ((g.name, owner) for g in groups if g.name != owner and name.startswith(_below(g)))


def _below(group: LayerGroup) -> tuple[str, ...]:
    return tuple(f"{path}." for path in group.modules)


def _tensors(model: nn.Module, groups: Sequence[LayerGroup], names: Collection[str]) -> dict[str, Tensor]:
    """Each tensor once, under the name that its group knows it by: a shared one has several names."""
    chosen = [group for group in groups if group.name in names]
    paths = tuple(path for group in chosen for path in _below(group))
    mine = {name for group in chosen for name in group.parameters}
    mine |= {name for name, _ in model.named_buffers() if name.startswith(paths)}
    return {name: tensor for name, tensor in model.state_dict().items() if name in mine}


def _running_statistics(model: nn.Module) -> list[str]:
    return [
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        if is_batch_norm(module)
        for name in _STATISTICS
    ]


def digest_tensor(tensor: Tensor) -> str:
    """sha256 (hex) of a tensor's type, shape and values."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(head + flat.view(torch.uint8).numpy().tobytes()).hexdigest()
