"""Every default that was taken: what the spec left open, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.models.weights.files import WeightFile
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import gate_metric, registered_model, watched_metric
from transferflow.spec.sections.guide import backbone_lr_scale
from transferflow.spec.sections.size import as_given


def resolved_values(
    spec: ExperimentSpec, transform: EvalTransform, start: WeightFile | None
) -> Mapping[str, Any]:
    """Key path to value, for every key that the user left out and every `auto` or `null` that means one.

    Args:
        spec: The spec.
        transform: Its eval transform.
        start: The weights file that training starts from; `None` for a random start.
    """
    values = dict(_defaults(spec))
    statistics = {"mean": list(transform.mean), "std": list(transform.std)}
    asked_and_meant = (
        (
            "data.image_size",
            spec.data.fit if transform.keeps_shape else spec.data.image_size,
            as_given(transform.image_size),
        ),
        ("data.fit", spec.data.fit, transform.mode),
        (
            "optimizer.backbone_lr_scale",
            spec.optimizer.backbone_lr_scale,
            backbone_lr_scale(spec.optimizer, spec.task),
        ),
        ("backbone.normalization", spec.backbone.normalization, statistics),
        ("evaluation.metrics", spec.evaluation.metrics, list(spec.task.metrics.names)),
        ("registration.model", spec.registration.model, registered_model(spec)),
        ("registration.gate.metric", spec.registration.gate.metric, gate_metric(spec)),
    )
    values |= {path: meant for path, asked, meant in asked_and_meant if asked is None}
    if spec.training.early_stopping and spec.training.early_stopping.metric is None:
        values["training.early_stopping.metric"] = watched_metric(spec)
    if start is not None and getattr(spec.backbone, "weights", None) == "DEFAULT":
        values["backbone.weights"] = start.tag
    return {path: values[path] for path in sorted(values)}


def _defaults(section: BaseModel, path: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        here = f"{path}.{name}" if path else name
        if isinstance(value, BaseModel):
            yield from _defaults(value, here)
        elif name not in section.model_fields_set:
            yield here, list(value) if isinstance(value, tuple) else value
