"""What `training.precision: auto` comes to on a CPU: tried once per model, machine and version of PyTorch.

What a trial has found is kept in the home, and every later training of such a model goes by it, so that all
of them compute alike: a resume, another rate, another seed. Loads no torch, for a plan may need none.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from transferflow.cpus import describe_cpu, usable_cpus
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.train.settings import cache_setting, loop_settings
from transferflow.store import digest, read_bounded, write_atomic
from transferflow.training.job import LoopSettings
from transferflow.training.precision import Choice, CpuPrecision, Spent, decide_precision

Trial = Mapping[CpuPrecision, Spent]
_TRIAL: TypeAdapter[dict[CpuPrecision, Spent]] = TypeAdapter(dict[CpuPrecision, Spent])
_MOST_BYTES = 1 << 16


def known_precision(spec: ExperimentSpec, context: RunContext, train: int, val: int) -> Choice | None:
    """What a trial of the spec's model says of its training; `None` where `auto` follows the rule.

    Args:
        spec: What is trained.
        context: Whose home remembers.
        train: Images that it is trained on.
        val: Images that its epochs are measured on.
    """
    trial = None if spec.training.precision != "auto" else _read(_entry(spec, context))
    return None if trial is None else _decide(spec, trial, train, val)


def known_settings(spec: ExperimentSpec, context: RunContext, train: int, val: int) -> LoopSettings:
    """Settings of the loop as they were for the spec's training, see `known_precision`."""
    settings, known = loop_settings(spec), known_precision(spec, context, train, val)
    return settings if known is None else replace(settings, precision=known.precision)


def try_precision(
    spec: ExperimentSpec,
    context: RunContext,
    train: int,
    val: int,
    try_out: Callable[[], Trial | None],
) -> Choice | None:
    """Like `known_precision`, after a trial where there was none.

    Args:
        spec: What is trained.
        context: Whose home remembers.
        train: Images that it is trained on.
        val: Images that its epochs are measured on.
        try_out: Measures; `None` where nothing could be.
    """
    known = known_precision(spec, context, train, val)
    if known is not None:
        return known
    trial = try_out()
    if trial is None:
        return None
    write_atomic(_entry(spec, context), json.dumps({name: asdict(spent) for name, spent in trial.items()}))
    return _decide(spec, trial, train, val)


def _decide(spec: ExperimentSpec, trial: Trial, train: int, val: int) -> Choice:
    views = cache_setting(spec)
    kept = train * (views if isinstance(views, int) else 1) + val
    return decide_precision(trial, kept, train * spec.training.epochs)


def _entry(spec: ExperimentSpec, context: RunContext) -> Path:
    document = spec.model_dump(mode="json")
    data, training = document["data"], document["training"]
    asked = {
        "task": document["task"]["kind"],
        "model": [document["backbone"], document["head"]],
        "freeze": document["freeze"],
        "images": [data["image_size"], data["fit"], spec.augmentation.model_dump(mode="json")],
        "training": [training["activation_cache"], training["device"]],
        "machine": [describe_cpu(), usable_cpus(), platform.system()],
        "torch": version("torch"),
    }
    return context.precisions / f"{digest(asked)}.json"


def _read(entry: Path) -> Trial | None:
    """What an entry holds; `None` where there is none, or it is damaged."""
    try:
        found = _TRIAL.validate_json(read_bounded(entry, _MOST_BYTES))
    except (OSError, ValueError):
        return None
    return found if set(found) == set(get_args(CpuPrecision)) else None
