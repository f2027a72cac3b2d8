"""A plan in a few sentences: images, what trains and at which rates, how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from transferflow.report.contents import LayerRow
from transferflow.spec.deciding import decide_baselines, training_devices
from transferflow.spec.sections.evaluation import BaselineName
from transferflow.spec.sections.guide import positive_class
from transferflow.stages.plan.caching import SUGGESTED_VIEWS, PhaseCache
from transferflow.stages.plan.compile import Plan
from transferflow.stages.plan.last_training import LastTraining
from transferflow.text import counted
from transferflow.training.job import FreezePhase
from transferflow.training.precision.decide import Choice

_RATES = 4
"""Different rates that are named one by one; of more, the first and the last."""


def plan_facts(plan: Plan) -> Iterator[tuple[str, str]]:
    """Name and text of each fact."""
    yield "images", _images(plan)
    yield "trains", _trains(plan)
    if any(row.lr_high is not None for row in plan.training.rows):
        yield "rates", _rates(plan)
        yield "course", _course(plan)
        yield from _caches(plan)
    devices = training_devices(plan.spec)
    if devices > 1:
        least, more = divmod(plan.spec.training.batch_size, devices)
        share = f"{least} or {least + 1}" if more else f"{least}"
        yield "devices", f"{devices}, {share} images of each batch on each"
    if names := decide_baselines(plan.spec):
        yield "baselines", _baselines(names, plan)
    if plan.will_train and plan.precision is not None:
        yield "precision", _precision(plan.precision)
    if plan.will_train:
        yield from _last_training(plan.last, plan.spec.training.epochs)


def _baselines(names: Sequence[BaselineName], plan: Plan) -> str:
    """What is measured beside the model, and what it costs."""
    images = sum(plan.images.values())
    costs = (
        (("majority", "champion"), "next to nothing"),
        (("knn", "linear_probe"), f"one pass of the frozen backbone over {images:,} images, kept for later"),
        (("from_scratch",), "a second training, of every layer"),
    )
    found = ((", ".join(name for name in group if name in names), cost) for group, cost in costs)
    return "; ".join(f"{shown} ({cost})" for shown, cost in found if shown)


def rate_text(row: LayerRow) -> str:
    """The group's rate, or its range under layer-wise decay; empty when it never trains."""
    if row.lr_low is None or row.lr_high is None:
        return ""
    return f"{row.lr_high:.3g}" if row.lr_low == row.lr_high else f"{row.lr_low:.3g} … {row.lr_high:.3g}"


def when_it_trains(row: LayerRow, first_epochs: Sequence[int]) -> str:
    """The epochs in which the group trains, such as `from epoch 3`; `frozen` when it never does.

    Args:
        row: The group.
        first_epochs: First epoch of each phase, from 0.
    """
    if all(row.trains):
        return "trains"
    parts = []
    ends: list[int | None] = [*first_epochs[1:], None]
    for trains, span in groupby(zip(row.trains, first_epochs, ends, strict=True), itemgetter(0)):
        phases = list(span)
        if trains:
            parts.append(_epochs(phases[0][1], phases[-1][2]))
    return ", ".join(parts) or "frozen"


def _epochs(first: int, end: int | None) -> str:
    if end is None:
        return f"from epoch {first + 1}"
    if first == 0:
        return f"until epoch {end}"
    return f"epoch {end}" if end == first + 1 else f"epochs {first + 1} to {end}"


def _images(plan: Plan) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in plan.images.items())
    about = "" if plan.exact else "about "
    note = "" if plan.exact else " (as listed; prepare opens the files)"
    left_out = f", {plan.left_out:,} left out" if plan.left_out else ""
    classes = f"{len(plan.classes)} class{'' if len(plan.classes) == 1 else 'es'}"
    if plan.spec.task.truth.is_number:
        classes = f"the number is {plan.classes[0]}"
    positive = positive_class(plan.spec.task, plan.classes)
    if positive is not None:
        classes += f", {positive} is the positive one"
    return f"{about}{counts}{left_out}{note}; {classes}"


def _trains(plan: Plan) -> str:
    phases, rows = plan.training.freeze.phases, plan.training.rows
    trained = [[row for row in rows if row.group not in phase.frozen] for phase in phases]
    total = sum(row.parameters for row in rows)
    parts = []
    for phase, found in zip(phases, trained, strict=True):
        share = sum(row.parameters for row in found) / total
        names = _spans(rows, found) if len(found) < len(rows) else "everything"
        parts.append(f"{_since(phase, phases)}{names or 'nothing'} ({_percent(share)})")
    return f"{'; '.join(parts)} of {total:,} parameters"


def _percent(share: float) -> str:
    return "under 1%" if 0 < share < 0.005 else f"{share:.0%}"


def _since(phase: FreezePhase, phases: Sequence[FreezePhase]) -> str:
    return "" if len(phases) == 1 else f"from epoch {phase.first_epoch + 1} "


def _spans(rows: Sequence[LayerRow], chosen: Sequence[LayerRow]) -> str:
    """Names of the chosen rows, neighbours joined: `stem, blocks.4 to head`."""
    spans = []
    for is_chosen, span in groupby(rows, lambda row: row in chosen):
        names = [row.group for row in span]
        if is_chosen:
            spans.append(f"{names[0]} to {names[-1]}" if len(names) > 2 else ", ".join(names))
    return ", ".join(spans)


def _rates(plan: Plan) -> str:
    trained = [row for row in plan.training.rows if row.lr_high is not None]
    alike = [(rate, list(rows)) for rate, rows in groupby(trained, rate_text)]
    if len(alike) > _RATES:
        (first, lowest), *_, (last, highest) = alike
        rates = f"{first} ({lowest[0].group}) to {last} ({highest[-1].group})"
    elif len(alike) == 1:
        rates = alike[0][0]
    else:
        rates = ", ".join(f"{rate} ({_spans(trained, rows)})" for rate, rows in alike)
    phases = [phase for phase in plan.training.freeze.phases if phase.lr_scale != 1]
    scaled = [f"{phase.lr_scale:g} times that from epoch {phase.first_epoch + 1}" for phase in phases]
    return ", ".join([rates, *scaled])


def _course(plan: Plan) -> str:
    training, schedule, optimizer = plan.spec.training, plan.spec.schedule, plan.spec.optimizer
    epochs = f"{counted(training.epochs, 'epoch')}"
    warm_up = f" after {schedule.warmup_epochs:g} epochs of warm-up" if schedule.warmup_epochs else ""
    return (
        f"{epochs}, {training.batch_size} images a step; {optimizer.kind}, "
        f"weight decay {optimizer.weight_decay:g}; {schedule.kind} rates{warm_up}"
    )


def _caches(plan: Plan) -> Iterator[tuple[str, str]]:
    """What frozen layers compute once; nothing where nothing is frozen."""
    phases = plan.training.freeze.phases
    said = [
        f"{_since(phase, phases)}{_cache(cache)}"
        for phase, cache in zip(phases, plan.caches, strict=False)
        if phase.frozen
    ]
    if said:
        yield "once", "; ".join(said)


def _cache(cache: PhaseCache) -> str:
    if cache.reason:
        return f"nothing: {cache.reason}"
    share = f"{_percent(cache.share)} of the forward pass"
    if cache.views is None:
        text = f"{share} of the validation images, as training images are varied"
        if cache.views_times > 1.05:
            views = f"`training.activation_cache: {{views: {SUGGESTED_VIEWS}}}`"
            text += f"; {views} would compute {cache.views_times:.1f} times less"
        return text
    of = "" if cache.views == 1 else f" of {cache.views} variations of each image"
    return f"{share}{of}, {_size(cache.bytes)}: {cache.times:.1f} times less to compute"


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{max(1, count // 1000)} KB"


def _precision(choice: Choice) -> str:
    """What a CPU computes in, and why."""
    return f"on this CPU {choice.precision}: bf16 takes {choice.share:.2f} times as long as fp32, by a trial"


def _last_training(last: LastTraining, epochs: int) -> Iterator[tuple[str, str]]:
    if last.epoch_seconds is not None:
        each, all_ = _duration(last.epoch_seconds), _duration(epochs * last.epoch_seconds)
        yield "time", f"about {all_}: the last run took {each} per epoch ({last.arithmetic})"
    if last.micro_batch is not None:
        yield (
            "memory",
            f"the last run computed {last.micro_batch} images of a batch at a time, for lack of it",
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
