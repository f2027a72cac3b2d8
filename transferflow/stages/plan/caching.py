"""What of a training is computed once, how large it is, and what that saves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from transferflow.spec import ExperimentSpec
from transferflow.stages.plan.facts import CutFacts, ModelFacts
from transferflow.stages.train.settings import cache_setting
from transferflow.training.activations.decide import decide_views, planned_epochs
from transferflow.training.job import FreezePhase


@dataclass(frozen=True)
class PhaseCache:
    """What is computed once in a phase.

    Attributes:
        first_epoch: First epoch of the phase, from 0.
        epochs: How many it has.
        views: Views of each training image that are computed once; `None`: none are.
        boundary: Layer groups after which the model is cut; nothing where it can't be.
        bytes: Size of what is kept of training and validation images, at most: where the machine that trains
            chooses the arithmetic, that of fp32.
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


def plan_caches(spec: ExperimentSpec, facts: ModelFacts, images: Mapping[str, int]) -> tuple[PhaseCache, ...]:
    """What each phase computes once.

    Args:
        spec: Says what may be cached.
        facts: Of its model.
        images: Images per split.
    """
    phases = zip(facts.training.freeze.phases, facts.cuts, strict=True)
    return tuple(_plan_phase(spec, facts, phase, cut, images) for phase, cut in phases)


def _plan_phase(
    spec: ExperimentSpec, facts: ModelFacts, phase: FreezePhase, cut: CutFacts, images: Mapping[str, int]
) -> PhaseCache:
    epochs = planned_epochs(facts.training.freeze, phase.first_epoch, spec.training.epochs)
    reason = next(_reasons(spec, epochs, cut), "")
    if reason:
        return PhaseCache(phase.first_epoch, epochs, None, (), 0, 0.0, 1.0, 1.0, reason)
    mixes = spec.augmentation.mixup > 0 or spec.augmentation.cutmix > 0
    views = decide_views(cache_setting(spec), is_varied=facts.is_varied, mixes=mixes)
    itemsize = 2 if spec.training.precision in ("bf16", "fp16") else 4
    kept = images.get("train", 0) * (views or 0) + images.get("val", 0)
    share = images.get("val", 0) / max(1, images.get("train", 0))
    could = SUGGESTED_VIEWS if facts.is_varied and not mixes and views is None else None
    return PhaseCache(
        phase.first_epoch,
        epochs,
        views,
        cut.boundary,
        kept * cut.numbers * itemsize,
        cut.operations / max(1, cut.all_operations),
        _times_less(cut, epochs, views, share),
        1.0 if could is None else _times_less(cut, epochs, could, share),
    )


def _reasons(spec: ExperimentSpec, epochs: int, cut: CutFacts) -> Iterator[str]:
    if cache_setting(spec) == "off":
        yield "it is off"
    if cut.reason:
        yield cut.reason
    if epochs < 2:
        yield "the phase has one epoch"


def _times_less(cut: CutFacts, epochs: int, views: int | None, validation: float) -> float:
    """Arithmetic without a cache over that with one; a backward pass takes two forward passes."""
    frozen, rest = cut.operations, max(1, cut.all_operations - cut.operations)
    without = epochs * (frozen + 3 * rest + validation * (frozen + rest))
    passes = epochs if views is None else min(views, epochs)
    return without / (epochs * (3 * rest + validation * rest) + passes * frozen + validation * frozen)
