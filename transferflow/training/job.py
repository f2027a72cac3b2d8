"""What the training loop is given: no spec, no task, only parts that are ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from transferflow.training.ranks import ALONE, Ranks

if TYPE_CHECKING:  # a plan that is known needs these settings, and no torch
    from torch import Tensor, nn

    from transferflow.data.loading.batch import Batch
    from transferflow.models.layers import LayerGroup

Losses = Mapping[str, "Tensor"]
LossCounts = Callable[["Batch"], Mapping[str, float]]
"""What a named loss is a mean over in a batch (pixels, weights of classes); images, where it says nothing."""


def count_images(batch: Batch) -> Mapping[str, float]:
    """Losses that all are means over images."""
    return {}


@dataclass(frozen=True)
class StartLoss:
    """What a loss should be on the first batch, before any step.

    Attributes:
        value: Of a model that knows nothing yet.
        why: Whence that is, in half a sentence.
        low: What is clearly too little; 0 where the model may know something already.
        high: What is clearly too much.
    """

    value: float
    why: str
    low: float
    high: float


StartLosses = Callable[["Batch"], Mapping[str, StartLoss]]
"""What the named losses of a batch, on the CPU, should be before any step; those that nobody can tell are
left out."""


def expect_nothing(batch: Batch) -> Mapping[str, StartLoss]:
    """Losses of which nobody can tell where they start."""
    return {}


class EpochLoader(Protocol):
    """A loader whose order and augmentation are a pure function of (seed, epoch, image id)."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, first: int = 0) -> Iterable[Batch]:
        """Iterate over one epoch (numbered from 0) from batch `first` on; those before it cost nothing."""
        ...


@dataclass(frozen=True)
class GroupRate:
    """What one layer group trains with, before the schedule and the phase scale.

    Attributes:
        group: Layer group's name.
        block: Block's name; equal to the group's unless rates differ inside it.
        lr: Absolute learning rate.
        weight_decay: Weight decay of the parameters that have one.
        parameters: Parameters that decay.
        no_decay: Parameters that do not (norms, biases, tokens).
    """

    group: str
    block: str
    lr: float
    weight_decay: float
    parameters: tuple[str, ...]
    no_decay: tuple[str, ...]


@dataclass(frozen=True)
class FreezePhase:
    """A span of epochs with one frozen set.

    Attributes:
        first_epoch: Where it starts, from 0.
        frozen: Names of the frozen groups.
        lr_scale: Multiplies every rate.
    """

    first_epoch: int
    frozen: frozenset[str]
    lr_scale: float = 1.0


@dataclass(frozen=True)
class FreezeSchedule:
    """Freeze state as a pure function of the epoch."""

    phases: tuple[FreezePhase, ...]
    batch_norm: Literal["frozen", "train", "all_frozen"]

    def at(self, epoch: int) -> FreezePhase:
        """The phase that holds at this epoch."""
        return next(p for p in reversed(self.phases) if p.first_epoch <= epoch)


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the loop; see `spec.training.Training` for the meaning of each."""

    epochs: int
    seed: int
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    metric: str
    lower_is_better: bool
    patience: int | None
    ema: float | None
    gradient_clip: float | None
    on_nan: Literal["stop", "skip"] = "stop"


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are written, besides one at the end of each epoch; can't change the result.

    Attributes:
        every_seconds: Time between two within an epoch; `None`: there are none.
        keep: How many of the last ones are kept.
    """

    every_seconds: float | None = 600.0
    keep: int = 2


@dataclass(frozen=True)
class OptimizerSettings:
    """Optimizer and schedule, flat."""

    kind: Literal["adamw", "sgd"]
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    nesterov: bool = True
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    min_lr_scale: float = 0.0


class Hook(Protocol):
    """Watches the loop: progress bar, logs, tracking."""

    def on_start(self, epochs: int, steps: int, first_epoch: int) -> None: ...

    def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None: ...

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None: ...

    def on_end(self) -> None: ...


@dataclass(frozen=True)
class TrainJob:
    """Everything that one training needs.

    Attributes:
        model: On the CPU, with the weights that it begins with, whether or not a checkpoint is resumed.
        groups: Its layer groups.
        rates: Total: each parameter stands in just one of them.
        freeze: Freeze state per epoch.
        train_loader: Training batches.
        losses: Model and batch to named losses; their sum is minimised.
        loss_counts: What each of them is a mean over.
        start_losses: What each of them should be before any step.
        validate: Model in eval mode on the job's device to metric values; must hold `settings.metric`.
        optimizer: Optimizer and schedule.
        settings: Loop settings.
        folder: Where checkpoints go; a checkpoint that is there is resumed.
        checkpointing: When they are written.
        metric_needs: What the validation images must hold, for the message where the metric is not a number.
        hooks: Watchers.
        ranks: The processes that train this model together; its loader gives this one's share.
    """

    model: nn.Module
    groups: tuple[LayerGroup, ...]
    rates: Sequence[GroupRate]
    freeze: FreezeSchedule
    train_loader: EpochLoader
    losses: Callable[[nn.Module, Batch], Losses]
    validate: Callable[[nn.Module], Mapping[str, float]]
    optimizer: OptimizerSettings
    settings: LoopSettings
    folder: Path
    checkpointing: Checkpointing = Checkpointing()
    loss_counts: LossCounts = count_images
    start_losses: StartLosses = expect_nothing
    metric_needs: str = "images of every class"
    hooks: Sequence[Hook] = field(default=())
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class PhaseProof:
    """Digests of what was frozen in one phase, before and after it.

    Attributes:
        first_epoch: First epoch of the phase.
        last_epoch: Last epoch that was trained in it, included.
        groups: Frozen groups.
        tensors: Parameters and buffers that the digests cover.
        before: sha256 (hex) at the start of the phase.
        after: sha256 (hex) at its end.
        left_out: Running statistics of batch norm that `batch_norm: train` updates, so that no digest
            covers them.
    """

    first_epoch: int
    last_epoch: int
    groups: tuple[str, ...]
    tensors: int
    before: str
    after: str
    left_out: int = 0

    @property
    def holds(self) -> bool:
        """Whether nothing that was frozen has changed."""
        return self.before == self.after


@dataclass(frozen=True)
class TrainingResult:
    """What the loop returns; the model holds the best weights.

    Attributes:
        history: One mapping per epoch: losses, metrics, seconds, rates.
        best_epoch: Epoch whose weights were kept, from 0.
        best_value: Its validation metric; NaN where nothing was validated.
        proofs: The freeze proof, per phase.
        precision: Arithmetic that was used; several, where it went on on another device.
        device: Device that was used.
        stopped_early: Whether patience ran out.
        phases: The phases as they came: patience may have ended one before its time.
        micro_batch: Most images that were computed at a time; `None`: whole batches.
        devices: How many devices it was trained on.
    """

    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    best_value: float
    proofs: tuple[PhaseProof, ...]
    precision: str
    device: str
    stopped_early: bool
    phases: tuple[FreezePhase, ...]
    micro_batch: int | None = None
    devices: int = 1
