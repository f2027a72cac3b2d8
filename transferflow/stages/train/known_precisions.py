"""What trials of precisions have measured, kept in the home: once per model, machine and version of PyTorch.

Every later training of such a model goes by it, so that another rate or another seed computes alike. Loads no
torch, for a plan may need none. Whatever is damaged is tried again.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from transferflow.cpus import describe_cpu, usable_cpus
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.keys import VERSIONS
from transferflow.store import digest, read_bounded, write_atomic
from transferflow.training.precision.decide import Choice, Trial, decide_precision

_TRIAL = TypeAdapter(Trial)
_MOST_BYTES = 1 << 16


def known_choice(spec: ExperimentSpec, context: RunContext, train: int, val: int) -> Choice | None:
    """What `training.precision: auto` comes to on this machine's CPU; `None` where the rule holds.

    Args:
        spec: What is trained.
        context: Whose home remembers.
        train: Images that it is trained on.
        val: Images that its epochs are measured on.
    """
    training = spec.training
    is_open = training.precision == "auto" and training.device in ("auto", "cpu")
    trial = load_trial(spec, context) if is_open else None
    return None if trial is None else decide_precision(trial, train, val, training.epochs)


def load_trial(spec: ExperimentSpec, context: RunContext) -> Trial | None:
    """What was measured of the spec's model; `None` where nothing was, or it is damaged."""
    try:
        return _TRIAL.validate_json(read_bounded(_entry(spec, context), _MOST_BYTES))
    except (OSError, ValueError):
        return None


def keep_trial(spec: ExperimentSpec, context: RunContext, trial: Trial) -> None:
    """Remember what was measured of the spec's model."""
    write_atomic(_entry(spec, context), _TRIAL.dump_json(trial))


def _entry(spec: ExperimentSpec, context: RunContext) -> Path:
    document = spec.model_dump(mode="json")
    data, training = document["data"], document["training"]
    asked = {
        "task": document["task"]["kind"],
        "model": [document["backbone"], document["head"]],
        "freeze": document["freeze"],
        "images": [data["image_size"], data["fit"], data["channels"], document["augmentation"]],
        "training": [training["activation_cache"], training["batch_size"]],
        "machine": [describe_cpu(), usable_cpus(), platform.system()],
        "versions": [version("torch"), VERSIONS["train"]],
    }
    return context.precisions / f"{digest(asked)}.json"
