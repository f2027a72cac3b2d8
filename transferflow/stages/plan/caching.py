"""What of a training is computed once, how large it is, and what that saves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from transferflow.models.cut.cut import Cut, Uncut
from transferflow.models.cut.find import find_cut
from transferflow.spec import ExperimentSpec
from transferflow.stages.train.job import cache_setting
from transferflow.tasks.base import ModelParts
from transferflow.training.activations.decide import bytes_of, decide_views, planned_epochs
from transferflow.training.freezing import apply_freeze
from transferflow.training.job import FreezePhase, FreezeSchedule

_SHAPES = "images keep their shape, so that what is computed of each has another size"


@dataclass(frozen=True)
class PhaseCache:
    """What is computed once in a phase.

    Attributes:
        first_epoch: First epoch of the phase, from 0.
        epochs: How many it has.
        views: Views of each training image that are computed once; `None`: none are.
        boundary: Layer groups after which the model is cut; nothing where it can't be.
        bytes: Size of what is kept of training and validation images, at most.
        share: Share of the forward pass that is computed once, 0..1; of a detector's backbone and neck.
        times: How many times less the phase computes than without a cache; backward passes count twice.
        views_times: The same for `views: 4`, where images are varied; 1 where it would change nothing.
        reason: Why nothing is computed once; empty where something is.
    """

    first_epoch: int
    epochs: int
    views: int | None
    boundary: tuple[str, ...]
    bytes: int
    share: float
    times: float
    views_times: float
    reason: str = ""


SUGGESTED_VIEWS = 4


def plan_caches(
    spec: ExperimentSpec,
    parts: ModelParts,
    freeze: FreezeSchedule,
    images: Mapping[str, int],
    shape: tuple[int, int, int] | None,
    *,
    is_varied: bool,
) -> tuple[PhaseCache, ...]:
    """What each phase computes once; the model is in train mode afterwards, all of it training.

    Args:
        spec: Says what may be cached.
        parts: The model, on any device.
        freeze: Its freeze schedule.
        images: Images per split.
        shape: Channels, height and width of the images; `None`: each has its own.
        is_varied: Whether training images are varied at random.
    """
    found = []
    for phase in freeze.phases:
        parts.model.train()
        apply_freeze(parts.model, parts.groups, phase, freeze.batch_norm)
        cut = Uncut(_SHAPES) if shape is None else find_cut(parts.model, shape)
        found.append(_plan_phase(spec, freeze, phase, cut, images, is_varied))
    parts.model.train().requires_grad_(True)
    return tuple(found)


def _plan_phase(
    spec: ExperimentSpec,
    freeze: FreezeSchedule,
    phase: FreezePhase,
    cut: Cut | Uncut,
    images: Mapping[str, int],
    is_varied: bool,
) -> PhaseCache:
    epochs = planned_epochs(freeze, phase.first_epoch, spec.training.epochs)
    reason = next(_reasons(spec, epochs, cut), "")
    if isinstance(cut, Uncut) or reason:
        return PhaseCache(phase.first_epoch, epochs, None, (), 0, 0.0, 1.0, 1.0, reason)
    mixes = spec.augmentation.mixup > 0 or spec.augmentation.cutmix > 0
    views = decide_views(cache_setting(spec), is_varied=is_varied, mixes=mixes)
    itemsize = 2 if spec.training.precision in ("bf16", "fp16") else 4
    kept = images.get("train", 0) * (views or 0) + images.get("val", 0)
    share = images.get("val", 0) / max(1, images.get("train", 0))
    could = SUGGESTED_VIEWS if is_varied and not mixes and views is None else None
    return PhaseCache(
        phase.first_epoch,
        epochs,
        views,
        cut.boundary,
        kept * bytes_of(cut, itemsize),
        cut.operations / max(1, cut.all_operations),
        _times_less(cut, epochs, views, share),
        1.0 if could is None else _times_less(cut, epochs, could, share),
    )


def _reasons(spec: ExperimentSpec, epochs: int, cut: Cut | Uncut) -> Iterator[str]:
    if cache_setting(spec) == "off":
        yield "it is off"
    if isinstance(cut, Uncut):
        yield cut.reason
    if epochs < 2:
        yield "the phase has one epoch"


def _times_less(cut: Cut, epochs: int, views: int | None, validation: float) -> float:
    """Arithmetic without a cache over that with one; a backward pass takes two forward passes."""
    frozen, rest = cut.operations, max(1, cut.all_operations - cut.operations)
    without = epochs * (frozen + 3 * rest + validation * (frozen + rest))
    passes = epochs if views is None else min(views, epochs)
    return without / (epochs * (3 * rest + validation * rest) + passes * frozen + validation * frozen)
