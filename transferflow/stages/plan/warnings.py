"""What a careful colleague would point out about a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transferflow.models.backbones.timm_weights import resolve_timm
from transferflow.models.channels import mean_shrinks
from transferflow.models.clip_text import needs_quick_gelu, other_activation
from transferflow.models.spec_weights import missing_spec_weights
from transferflow.report.contents import LayerRow
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import is_random, training_devices, trains_nothing, watched_metric
from transferflow.spec.sections.backbone import TimmBackbone
from transferflow.spec.sections.freeze import FreezeNone
from transferflow.tasks.base import ModelParts

SMALL_DATA = 2000


def collect_warnings(
    spec: ExperimentSpec,
    parts: ModelParts,
    rows: Sequence[LayerRow],
    images: Mapping[str, int],
    will_train: bool,
) -> tuple[str, ...]:
    """All warnings, in the order of the spec's sections."""
    stem_trains = "train" in rows[0].batch_norm
    found = [
        *_few_images(spec, images),
        *_other_activation(spec),
        *_kept_by_calibration(spec),
        *_shrunken_activations(spec, parts, stem_trains),
        *_own_statistics(spec, rows),
    ]
    if will_train:
        found += _weights_to_fetch(spec)
    return tuple(found)


def _few_images(spec: ExperimentSpec, images: Mapping[str, int]) -> Iterator[str]:
    for split in ("val", "test"):
        if 0 < images.get(split, 0) < 30:
            yield f"only {images[split]} {split} images: the metrics will have wide intervals"
    train = images.get("train", 0)
    fine_tunes = spec.task.traits.small_data_freezes and isinstance(spec.freeze, FreezeNone)
    fine_tunes = fine_tunes and not trains_nothing(spec)
    rules = (spec.optimizer.backbone_lr_scale, spec.optimizer.layer_decay, spec.optimizer.layer_lr or None)
    if fine_tunes and train < SMALL_DATA and all(rule is None for rule in rules):
        yield (
            f"{train} training images for full fine-tuning at one rate: for small data the guide "
            "suggests `freeze: {policy: backbone}` or lower rates for the early layers"
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


def _weights_to_fetch(spec: ExperimentSpec) -> Iterator[str]:
    for missing in missing_spec_weights(spec):
        yield f"weights will be downloaded: {missing.address}"
