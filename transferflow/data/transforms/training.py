"""The training transform: the evaluation transform with random variations between resize and fit."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, assert_never

import numpy as np
import torch
from torch import Tensor

from transferflow.data.files.geometry import Pixels
from transferflow.data.transforms.evaluation import EvalTransform, enlarged
from transferflow.data.transforms.named import build_transform, load_albumentations
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.spec.sections.augmentation import Augmentation, Custom, OneOf, Preset, Step, Transform
from transferflow.spec.sections.truth import Moving

_CROP_SHARE = 224 / 256
"""The presets crop 224 pixels from a short side of 256, whatever the evaluation does."""
_JITTER = 0.3
_ROTATION = 15.0
_TRANSLATION = 0.1
_SCALES = (0.8, 1.25)
_MIN_VISIBILITY = 0.1
"""A box of which less is left has lost its object."""


@dataclass(frozen=True)
class TrainTransform:
    """Random variations of a resized image; the same seed gives the same variation.

    Attributes:
        base: Resizes before, and fits and normalises after; shared with evaluation.
        steps: Variations in order; without any, this is the evaluation transform, or a window out of it.
        moving: What moves with the image.
        mixup: Alpha of mixup between the images of a batch.
        cutmix: Alpha of CutMix between the images of a batch.
    """

    base: EvalTransform
    steps: tuple[Step, ...]
    moving: Moving
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def is_random(self) -> bool:
        """Whether two epochs can differ."""
        return self.is_varied or self.mixup > 0 or self.cutmix > 0

    @property
    def is_varied(self) -> bool:
        """Whether an image by itself looks different in another epoch."""
        return bool(self.steps) or self.base.mode == "whole"

    @property
    def keeps_shape(self) -> bool:
        """Whether training sees each image in a size of its own."""
        return self.base.mode == "rescale"

    def __call__(self, image: Pixels, seed: int) -> Tensor:
        """Map a decoded image (uint8, H x W x C) to float32, C x height x width."""
        varied = self.vary(Sample(self.base.resize_image(image)), seed).image
        size = (varied.shape[0], varied.shape[1])
        return self.base.batch(torch.from_numpy(np.stack([varied])), [size])[0][0]

    def vary(self, sample: Sample, seed: int) -> Sample:
        """Vary a resized sample and fit it to the model's size."""
        if not self.is_varied:
            return self.base.fit_sample(sample)
        self._composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
        match self.moving:
            case None:
                return Sample(self._composed(image=sample.image)["image"])
            case "mask":
                varied = self._composed(image=sample.image, mask=sample.mask)
                return Sample(varied["image"], mask=varied["mask"])
            case "boxes":
                varied = self._composed(image=sample.image, bboxes=sample.boxes, labels=sample.labels)
                boxes = np.asarray(varied["bboxes"], np.float32).reshape(-1, 4)
                found = Sample(varied["image"], boxes, np.asarray(varied["labels"], np.int64))
                return self.base.fit_sample(found) if self.keeps_shape else found
            case _:
                assert_never(self.moving)

    @cached_property
    def _composed(self) -> Any:  # noqa: ANN401 - albumentations has no types
        # One per process: a worker builds its own.
        albumentations = load_albumentations()
        boxes = albumentations.BboxParams(
            "pascal_voc",
            label_fields=["labels"],
            clip=True,
            min_width=1,
            min_height=1,
            min_visibility=_MIN_VISIBILITY,
        )
        steps = [_build_step(step) for step in self.steps]
        if not self.keeps_shape:
            steps.append(_fit_step(self.base))
        return albumentations.Compose(steps, bbox_params=boxes if self.moving == "boxes" else None)


def build_train_transform(
    augmentation: Augmentation, eval_transform: EvalTransform, moving: Moving
) -> TrainTransform:
    """Build the transform that the augmentation section asks for.

    Args:
        augmentation: A preset or a list of transforms that `check_transforms` has found to be good.
        eval_transform: What evaluation does.
        moving: What moves with the image: its boxes or its mask.
    """
    base = eval_transform
    match augmentation:
        case Preset(preset="none"):
            steps: tuple[Step, ...] = ()
        case Preset(preset=preset):
            steps = _shared_steps(base)
            if preset == "different_domain":
                steps = _domain_steps(base, moving)
            if base.mode == "crop":
                base = replace(base, resize=max(base.resize, enlarged(base.image_size, _CROP_SHARE)))
        case Custom(transforms=steps):
            pass
        case _:
            assert_never(augmentation)
    if augmentation.scale is not None:
        low, high = augmentation.scale
        limits = {"scale_limit": [low - 1, high - 1]}
        steps = (Transform(name="RandomScale", probability=1.0, args=limits), *steps)
    return TrainTransform(base, steps, moving, augmentation.mixup, augmentation.cutmix)


def _shared_steps(base: EvalTransform) -> tuple[Step, ...]:
    flip = Transform(name="HorizontalFlip")
    if _cuts(base):
        return (flip,)
    # Where nothing is cropped, objects vary in size instead.
    zoom = {"scale": list(_SCALES), "keep_ratio": True, **_filling(base)}
    return flip, Transform(name="Affine", args=zoom)


def _domain_steps(base: EvalTransform, moving: Moving) -> tuple[Step, ...]:
    move: dict[str, Any] = {
        "rotate": [-_ROTATION, _ROTATION],
        "translate_percent": [-_TRANSLATION, _TRANSLATION],
        **_filling(base),
    }
    if not _cuts(base):
        move |= {"scale": list(_SCALES), "keep_ratio": True}
    if moving == "boxes":
        # A box around a turned box would grow with every degree; around an ellipse in it, it hardly does.
        move["rotate_method"] = "ellipse"
    light = (
        Transform(
            name="ColorJitter",
            probability=1.0,
            args={
                "brightness": [1 - _JITTER, 1 + _JITTER],
                "contrast": [1 - _JITTER, 1 + _JITTER],
                "saturation": [1, 1],
                "hue": [0, 0],
            },
        )
        if base.channels in (1, 3)
        else Transform(
            name="RandomBrightnessContrast",
            probability=1.0,
            args={"brightness_limit": _JITTER, "contrast_limit": _JITTER},
        )
    )
    return (
        Transform(name="HorizontalFlip"),
        Transform(name="VerticalFlip"),
        Transform(name="Affine", probability=1.0, args=move),
        light,
    )


def _cuts(base: EvalTransform) -> bool:
    """Whether training sees a window of an image, which varies it already."""
    return base.mode in ("crop", "whole")


def _filling(base: EvalTransform) -> dict[str, Any]:
    return {"fill": _fill(base), "fill_mask": VOID}


def _fill(base: EvalTransform) -> list[int] | int:
    """Mean colour; OpenCV takes one value for all where there are more than four channels."""
    colour = [int(value) for value in base.fill]
    return colour if len(colour) <= 4 else round(sum(colour) / len(colour))


def _build_step(step: Step) -> Any:  # noqa: ANN401 - albumentations has no types
    match step:
        case OneOf(one_of=candidates, probability=probability):
            return load_albumentations().OneOf([build_transform(c) for c in candidates], p=probability)
        case Transform():
            return build_transform(step)
        case _:
            assert_never(step)


def _fit_step(base: EvalTransform) -> Any:  # noqa: ANN401 - albumentations has no types
    return load_albumentations().RandomCrop(
        *base.image_size,
        pad_if_needed=True,
        pad_position="top_left",
        fill=_fill(base),
        fill_mask=VOID,
        p=1.0,
    )
