"""Rules between the data and the other sections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.spec.sections.augmentation import Custom, OneOf
from transferflow.spec.sections.backbone import CheckpointBackbone
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.data import DicomData, ImageFolderData, KeptShape, MaskFolderData
from transferflow.spec.sections.size import size_of
from transferflow.spec.sections.task import ClassificationTask, SegmentationTask
from transferflow.spec.sections.truth import BoxTruth, MaskTruth
from transferflow.spec.sections.whole import Sections
from transferflow.spec.wording import did_you_mean

_RGB = 3


def _format_belongs_to_the_task(spec: Sections) -> Iterator[Found]:
    formats = spec.task.traits.formats
    if spec.data.format not in formats:
        allowed = ", ".join(formats)
        message = f"{spec.data.format} holds no labels for {spec.task.kind}; allowed: {allowed}"
        yield ("data", "format"), message


def _several_labels_need_a_table(spec: Sections) -> Iterator[Found]:
    one_folder_each = isinstance(spec.data, ImageFolderData) or (
        isinstance(spec.data, DicomData) and spec.data.file is None
    )
    if isinstance(spec.task, ClassificationTask) and spec.task.multilabel and one_folder_each:
        yield (
            ("task", "multilabel"),
            "a folder per class gives one label per image: use a table (format: csv)",
        )


def _statistics_fit_the_channels(spec: Sections) -> Iterator[Found]:
    given = spec.backbone.normalization
    if given is None:
        return
    # A checkpoint's statistics are those of its own input, which may be RGB for a model of n channels.
    allowed = {spec.data.channels} | ({_RGB} if isinstance(spec.backbone, CheckpointBackbone) else set())
    if len(given.mean) not in allowed:
        message = f"has {len(given.mean)} values for data.channels {spec.data.channels}: one per channel"
        yield ("backbone", "normalization", "mean"), message


def _colours_name_the_classes(spec: Sections) -> Iterator[Found]:
    if not isinstance(spec.data, MaskFolderData) or not spec.data.colours or not spec.data.classes:
        return
    classes = set(spec.data.classes)
    for name in spec.data.colours:
        if name not in classes:
            yield ("data", "colours", name), f"{name} is not in data.classes"
    for name in spec.data.classes:
        if name not in spec.data.colours:
            yield ("data", "colours"), f"the class {name} of data.classes has no colour"


def _weights_name_the_classes(spec: Sections) -> Iterator[Found]:
    weights, classes = spec.training.class_weights, spec.data.classes
    if not isinstance(weights, dict) or classes is None:
        return
    known = set(classes)
    for name in weights:
        if name not in known:
            hint = did_you_mean(name, classes)
            message = f"{name} is not in data.classes" + (f": {hint}" if hint else "")
            yield ("training", "class_weights", name), message


def _ignored_pixels_are_no_class(spec: Sections) -> Iterator[Found]:
    colours = spec.data.colours if isinstance(spec.data, MaskFolderData) else None
    classes = spec.data.classes or tuple(colours or ())
    if isinstance(spec.task, SegmentationTask):
        message = describe_ignored_class(spec.task.truth.ignored_value, classes)
        if message:
            yield ("task", "ignore_index"), message


def describe_ignored_class(ignore_index: int, classes: Sequence[str]) -> str | None:
    """Say which class would never be trained; `None` where ignored pixels are none of the classes."""
    if ignore_index >= len(classes):
        return None
    return (
        f"{ignore_index} is the value of the class {classes[ignore_index]}, which would be neither trained "
        f"nor measured; allowed: {len(classes)} to 255"
    )


def _crop_fits_the_image(spec: Sections) -> Iterator[Found]:
    if spec.data.image_size is None or not isinstance(spec.augmentation, Custom):
        return
    sides = dict(zip(("height", "width"), size_of(spec.data.image_size), strict=True))
    for number, step in enumerate(spec.augmentation.transforms):
        place: tuple[str, ...] = ("augmentation", "transforms", str(number))
        candidates = step.one_of if isinstance(step, OneOf) else (step,)
        for choice, transform in enumerate(candidates):
            inner = (*place, "one_of", str(choice)) if isinstance(step, OneOf) else place
            if "Crop" not in transform.name:
                continue
            for side, size in sides.items():
                value = transform.args.get(side)
                if isinstance(value, int) and value > size:
                    message = f"{transform.name} of {value} is larger than data.image_size {size}"
                    yield (*inner, "args", side), message


def _shapes_are_kept_without_a_size(spec: Sections) -> Iterator[Found]:
    fit = spec.data.fit
    if not isinstance(fit, KeptShape):
        if spec.augmentation.scale is not None:
            yield (
                ("augmentation", "scale"),
                "no window is cut afterwards: it is for data.fit {crop: 512}",
            )
        return
    if spec.data.image_size is not None:
        yield ("data", "image_size"), "data.fit says how large images are: leave one of the two out"
    match spec.task.truth:
        case BoxTruth():
            if fit.shorter is None or fit.longer is None:
                yield ("data", "fit"), "detection needs `shorter` and `longer`: {shorter: 800, longer: 1333}"
            for name in ("crop", "tile"):
                if getattr(fit, name) is not None:
                    yield ("data", "fit", name), f"{name} is for segmentation; detection sees whole images"
            if spec.augmentation.scale is not None:
                yield (
                    ("augmentation", "scale"),
                    "is for segmentation; data.fit says how large images are",
                )
        case MaskTruth():
            if fit.crop is None:
                yield ("data", "fit"), "segmentation needs the window that training cuts out: {crop: 512}"
        case _:
            message = "sees images of one size: crop, letterbox or stretch, with data.image_size"
            yield ("data", "fit"), f"{spec.task.kind} {message}"


def _masks_are_resized_with_their_images(spec: Sections) -> Iterator[Found]:
    fit = spec.data.fit
    resizes = isinstance(fit, KeptShape) and fit.shorter is not None
    asked = isinstance(spec.task.truth, MaskTruth) and spec.evaluation.mask_size == "resized"
    if asked and not resizes:
        yield (
            ("evaluation", "mask_size"),
            "resized goes with a size to which images are brought: data.fit {shorter: 520, crop: 480}",
        )


def _nothing_is_cropped_away(spec: Sections) -> Iterator[Found]:
    if spec.data.fit == "crop" and spec.task.traits.fit != "crop":
        yield (
            ("data", "fit"),
            f"crop would lose what lies outside of it; {spec.task.kind} takes letterbox or stretch",
        )


DATA_RULES = (
    _format_belongs_to_the_task,
    _several_labels_need_a_table,
    _statistics_fit_the_channels,
    _colours_name_the_classes,
    _weights_name_the_classes,
    _ignored_pixels_are_no_class,
    _crop_fits_the_image,
    _nothing_is_cropped_away,
    _shapes_are_kept_without_a_size,
    _masks_are_resized_with_their_images,
)
