"""What a careful colleague would point out about a model, whatever the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.models.backbones.timm_weights import resolve_timm
from transferflow.models.channels import mean_shrinks
from transferflow.models.clip_text import needs_quick_gelu, other_activation
from transferflow.report.contents import LayerRow
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import is_random, training_devices, trains_nothing, watched_metric
from transferflow.spec.sections.backbone import TimmBackbone
from transferflow.tasks.base import ModelParts


def model_warnings(spec: ExperimentSpec, parts: ModelParts, rows: Sequence[LayerRow]) -> tuple[str, ...]:
    """All of them, in the order of the spec's sections.

    Args:
        spec: The spec.
        parts: Its model, on any device.
        rows: The layer table.
    """
    stem_trains = "train" in rows[0].batch_norm
    return (
        *_other_activation(spec),
        *_kept_by_calibration(spec),
        *_shrunken_activations(spec, parts, stem_trains),
        *_own_statistics(spec, rows),
    )


def _other_activation(spec: ExperimentSpec) -> Iterator[str]:
    """Prompts need the very activation, and are refused without it; training can make up for another."""
    if not isinstance(spec.backbone, TimmBackbone):
        return
    choice = resolve_timm(spec.backbone.name, spec.backbone.weights)
    if needs_quick_gelu(choice):
        other = other_activation(choice)
        yield f"{choice.name} computes GELU, and the weights {choice.tag} were trained with QuickGELU" + (
            f": take {other} for the features as they were published" if other else ""
        )


def _kept_by_calibration(spec: ExperimentSpec) -> Iterator[str]:
    """A model that has learned nothing can be well calibrated."""
    if watched_metric(spec) == "ece" and not trains_nothing(spec):
        yield (
            "the epoch with the least ece is kept, which may be one that has learned little: "
            "`training.early_stopping: {metric: accuracy}` chooses by another metric"
        )


def _shrunken_activations(spec: ExperimentSpec, parts: ModelParts, stem_trains: bool) -> Iterator[str]:
    if spec.data.channels == 3 or spec.backbone.channel_adaptation != "mean" or is_random(spec.backbone):
        return
    if mean_shrinks(parts.model, stem_trains=stem_trains):
        yield (
            f"channel_adaptation mean scales the first activations by about {spec.data.channels}/3, and no "
            "batch norm in train mode follows to restore them: consider `sum` or `fold`"
        )


def _own_statistics(spec: ExperimentSpec, rows: Sequence[LayerRow]) -> Iterator[str]:
    """Batch norm that trains on several devices."""
    devices = training_devices(spec)
    if devices > 1 and not spec.training.sync_batch_norm and any("train" in row.batch_norm for row in rows):
        yield (
            f"batch norm that trains sees {spec.training.batch_size // devices} images at a time, those of "
            "its own device: `training.sync_batch_norm: true` shows it all (on CUDA)"
        )
