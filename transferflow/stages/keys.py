"""Stage keys: sha256 over just what can change a stage's result.

A stage's inputs are a JSON document; its digest is the key. Raise a stage's version when its code
changes what it makes from the same inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from transferflow.data.records import DatasetSnapshot, SplitName
from transferflow.evaluation.slices import Slicing
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import decide_baselines, watched_metric
from transferflow.spec.sections.metrics import SENSITIVITY
from transferflow.spec.sections.training import ActivationViews
from transferflow.stages.outcome import StageName
from transferflow.store import digest

VERSIONS: Mapping[StageName, int] = {"prepare": 6, "train": 17, "evaluate": 8, "register": 5}
_TRAINED_ON: tuple[SplitName, ...] = ("train", "val")


def prepare_inputs(spec: ExperimentSpec, listing_digest: str) -> dict[str, Any]:
    """Inputs of prepare: the data section, the task, and what lies in the folder."""
    data = spec.data.model_dump(mode="json", exclude={"cache", "image_size", "fit"})
    if not data["link_roots"]:
        del data["link_roots"]  # it came later, and changes no earlier key
    return _inputs("prepare", spec.canonical("task") | {"data": data, "files": listing_digest})


def train_inputs(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, weights: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Inputs of train: the snapshot, the order of its images, and every section that shapes the weights."""
    sections = spec.canonical(
        "task", "backbone", "freeze", "head", "optimizer", "schedule", "augmentation", "training"
    )
    for machine in ("device", "devices", "max_restarts", "workers", "checkpoint", "on_nan"):
        del sections["training"][machine]
    if not spec.training.sync_batch_norm:
        del sections["training"]["sync_batch_norm"]  # it came later, and changes no earlier key
    if spec.augmentation.scale is None:
        del sections["augmentation"]["scale"]  # it came later, and changes no earlier key
    if not isinstance(spec.training.activation_cache, ActivationViews):
        del sections["training"]["activation_cache"]  # which then changes no result
    sections["kept_by"] = _kept_by(spec)
    if spec.evaluation.calibrate:
        sections["calibrate"] = True  # it came later, and changes no earlier key
    asked = spec.evaluation.model_dump(mode="json", include={"thresholds", "conformal"})
    if any(value is not None for value in asked.values()):
        sections["decision"] = asked  # so did they
    sections["data"] = spec.data.model_dump(
        mode="json", include={"channels", "image_size", "fit", "intensity"}
    )
    images = {"snapshot": snapshot.fingerprint, "ids": {name: snapshot.ids[name] for name in _TRAINED_ON}}
    return _inputs("train", sections | images | ({"weights": dict(weights)} if weights else {}))


def _kept_by(spec: ExperimentSpec) -> dict[str, Any]:
    """What chooses the epoch whose weights are kept, which no section of the training says alone."""
    metric = watched_metric(spec)
    specificity = {"specificity": spec.evaluation.specificity} if metric == SENSITIVITY else {}
    mask_size = spec.evaluation.mask_size
    resized = {} if mask_size == "original" else {"mask_size": mask_size}
    return {"metric": metric, **specificity, **resized}


def evaluate_inputs(
    spec: ExperimentSpec, snapshot: DatasetSnapshot, train_key: str, slices: Sequence[Slicing] = ()
) -> dict[str, Any]:
    """Inputs of evaluate: the model, the test images with their names and groups, and what is measured.

    Args:
        spec: The spec.
        snapshot: The data set.
        train_key: Key of the model.
        slices: Which slices the test images are in, which no snapshot says.
    """
    images = {
        "snapshot": snapshot.fingerprint,
        "ids": snapshot.ids["test"],
        "groups": snapshot.groups["test"],
    }
    sections = spec.canonical("evaluation")
    if spec.evaluation.mask_size == "original":
        del sections["evaluation"]["mask_size"]  # it came later, and changes no earlier key
    sections["evaluation"]["baselines"] = [name for name in decide_baselines(spec) if name != "champion"]
    sliced = {"slices": digest([asdict(one) for one in slices])} if slices else {}
    return _inputs("evaluate", sections | images | sliced | {"model": train_key})


def register_inputs(spec: ExperimentSpec, evaluate_key: str, registry: str) -> dict[str, Any]:
    """Inputs of register: the evaluation, the gate, and which registry."""
    sections = spec.canonical("name", "registration")
    champion = {"champion_shown": "champion" in decide_baselines(spec)}
    return _inputs("register", sections | champion | {"evaluation": evaluate_key, "registry": registry})


def _inputs(stage: StageName, values: dict[str, Any]) -> dict[str, Any]:
    return {"stage": stage, "version": VERSIONS[stage], **values}


def changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words which inputs differ, such as `optimizer.lr: 0.001 → 0.0003`."""
    before, after = dict(_flat(old)), dict(_flat(new))
    return [
        f"{path}: {_short(before.get(path))} → {_short(after.get(path))}"
        for path in dict.fromkeys([*after, *before])
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    ]


_ABSENT = object()


def _flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _flat(part, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _short(value: object) -> str:
    text = "(nothing)" if value is None else str(value)
    is_hash = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return text[:12] if is_hash else text if len(text) <= 60 else text[:57] + "…"
