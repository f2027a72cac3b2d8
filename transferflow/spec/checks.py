"""Rules that span sections, each a pure function from the spec to what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from transferflow.spec.freeze import FreezeLayers, FreezePhases, FreezeUntil
from transferflow.spec.head import DetectionHead, LinearHead, SegmentationHead
from transferflow.spec.metrics import metric_names
from transferflow.spec.task import ClassificationTask, DetectionTask, SegmentationTask

if TYPE_CHECKING:
    from transferflow.spec.experiment import ExperimentSpec

Found = tuple[tuple[str, ...], str]


def cross_section_problems(spec: ExperimentSpec) -> list[Found]:
    """Every rule between sections that the spec breaks, with the key path to blame."""
    return [found for rule in _RULES for found in rule(spec)]


def _metrics_belong_to_the_task(spec: ExperimentSpec) -> Iterator[Found]:
    known = metric_names(spec.task).names
    asked: list[tuple[tuple[str, ...], str | None]] = [
        (("evaluation", "metrics", str(i)), name) for i, name in enumerate(spec.evaluation.metrics or ())
    ]
    asked.append((("registration", "gate", "metric"), spec.registration.gate.metric))
    if spec.training.early_stopping:
        asked.append((("training", "early_stopping", "metric"), spec.training.early_stopping.metric))
    for path, name in asked:
        if name is not None and name not in known:
            yield path, f"{spec.task.kind} has no metric {name!r}; it has: {', '.join(known)}"


def _head_belongs_to_the_task(spec: ExperimentSpec) -> Iterator[Found]:
    suits = {
        ClassificationTask: not isinstance(spec.head, DetectionHead | SegmentationHead),
        DetectionTask: isinstance(spec.head, DetectionHead),
        SegmentationTask: isinstance(spec.head, SegmentationHead),
    }
    if not suits[type(spec.task)]:
        allowed = {
            "classification": "linear, zero_shot",
            "detection": "faster_rcnn, retinanet, fcos",
            "segmentation": "deeplabv3, fcn, lite",
        }[spec.task.kind]
        yield ("head", "kind"), f"{spec.head.kind} is no head for {spec.task.kind}; allowed: {allowed}"


def _format_belongs_to_the_task(spec: ExperimentSpec) -> Iterator[Found]:
    formats = {
        "classification": ("image_folder", "csv", "parquet", "dicom"),
        "detection": ("coco", "voc", "yolo"),
        "segmentation": ("mask_folder", "coco"),
    }[spec.task.kind]
    if spec.data.format not in formats:
        yield (
            ("data", "format"),
            f"{spec.data.format} holds no labels for {spec.task.kind}; allowed: {', '.join(formats)}",
        )


def _frozen_groups_have_no_rate(spec: ExperimentSpec) -> Iterator[Found]:
    match spec.freeze:
        case FreezeUntil(until=last):
            frozen: tuple[str, ...] = (last,)
        case FreezeLayers(layers=layers):
            frozen = layers
        case _:
            return
    for group in spec.optimizer.layer_lr:
        if any(group == name or fnmatchcase(group, name) for name in frozen):
            yield (
                ("optimizer", "layer_lr", group),
                f"{group} is frozen by freeze.{spec.freeze.policy}: it has no rate",
            )


def _phases_fit_the_epochs(spec: ExperimentSpec) -> Iterator[Found]:
    if isinstance(spec.freeze, FreezePhases):
        before_last = sum(phase.epochs for phase in spec.freeze.phases[:-1])
        if before_last >= spec.training.epochs:
            yield (
                ("freeze", "phases"),
                f"the last phase starts at epoch {before_last}; training ends after {spec.training.epochs}",
            )


def _crop_fits_the_image(spec: ExperimentSpec) -> Iterator[Found]:
    size = spec.data.image_size
    if size is None or not hasattr(spec.augmentation, "transforms"):
        return
    for number, step in enumerate(spec.augmentation.transforms):
        for transform in getattr(step, "one_of", (step,)):
            for side in ("height", "width"):
                value = transform.args.get(side)
                if "Crop" in transform.name and isinstance(value, int) and value > size:
                    yield (
                        ("augmentation", "transforms", str(number)),
                        f"{transform.name} {side} {value} is larger than data.image_size {size}",
                    )


def _mixing_is_for_classification(spec: ExperimentSpec) -> Iterator[Found]:
    for name in ("mixup", "cutmix"):
        if getattr(spec.augmentation, name) > 0 and not isinstance(spec.task, ClassificationTask):
            yield ("augmentation", name), f"{name} is for classification, not {spec.task.kind}"


def _text_init_needs_clip(spec: ExperimentSpec) -> Iterator[Found]:
    needs_text = spec.head.kind == "zero_shot" or (
        isinstance(spec.head, LinearHead) and spec.head.init == "text"
    )
    if needs_text and spec.backbone.source != "timm":
        yield (
            ("head",),
            "text prompts need a CLIP backbone: source timm with CLIP weights, such as "
            "vit_base_patch16_clip_224",
        )


_RULES: tuple[Callable[[ExperimentSpec], Iterator[Found]], ...] = (
    _metrics_belong_to_the_task,
    _head_belongs_to_the_task,
    _format_belongs_to_the_task,
    _frozen_groups_have_no_rate,
    _phases_fit_the_epochs,
    _crop_fits_the_image,
    _mixing_is_for_classification,
    _text_init_needs_clip,
)
