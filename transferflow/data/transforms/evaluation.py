"""The evaluation transform: the one way from a decoded image to what the model sees.

It has two steps. `resize` makes the image small and does not depend on anything but the image: its result
is what the decoded-image cache keeps, and what augmentation starts from. `fit` gives it the model's size.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, FiniteFloat, StrictInt, TypeAdapter, ValidationError
from torch import Tensor

from transferflow.data.files.geometry import (
    Interpolation,
    Pixels,
    centre_crop,
    clip_boxes,
    covering_size,
    fitting_size,
    pad_to_size,
    resize_image,
    resize_mask,
    scale_boxes,
)
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.errors import DataError
from transferflow.spec.sections.backbone import Normalization
from transferflow.spec.sections.data import Data, FitMode, FullRange, Intensity
from transferflow.spec.sections.normalization import adapt_statistics
from transferflow.spec.sections.size import Size, size_of

_Side = Annotated[int, Field(ge=16, le=10_000)]
_AnySize = Annotated[tuple[_Side, _Side], BeforeValidator(lambda given: size_of(given))]
"""Bundles of earlier versions have one number, the side of a square."""
_Deviation = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class EvalTransform:
    """Resize, fit to the model's size, normalise; the same arithmetic (float32) wherever it runs.

    Attributes:
        image_size: Height and width that the model sees, in pixels.
        resize: Window that the first step makes the image cover (`crop`), fit into (`letterbox`) or fill
            (`stretch`); height and width in pixels.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        interpolation: Resize filter (antialiased).
        channels: Channels that the model sees.
        intensity: How values wider than 8 bits become 0..255 when the image is decoded.
        mode: `crop` cuts the centre; `letterbox` keeps the whole image and pads it at the bottom and the
            right with the mean colour; `stretch` keeps it and distorts. Boxes and masks can be led back from
            the latter two.
    """

    image_size: _AnySize
    resize: _AnySize
    mean: tuple[FiniteFloat, ...]
    std: tuple[_Deviation, ...]
    interpolation: Interpolation = "bilinear"
    channels: Annotated[StrictInt, Field(ge=1, le=64)] = 3
    intensity: Intensity = field(default_factory=FullRange)
    mode: FitMode = "crop"

    def __call__(self, image: Pixels) -> Tensor:
        """Map a decoded image (uint8, H x W x C, any size) to float32, C x height x width."""
        return self.normalize(torch.from_numpy(np.stack([self.fit(self.resize_image(image))])))[0]

    def resized(self, size: Size) -> Size:
        """Size after the first step, for an image of `size` (height, width)."""
        match self.mode:
            case "crop":
                return covering_size(size, self.resize)
            case "letterbox":
                return fitting_size(size, self.resize)
            case "stretch":
                return self.resize

    def resize_image(self, image: Pixels) -> Pixels:
        """First step for an image."""
        return resize_image(image, self.resized(_size(image)), self.interpolation)

    def resize_mask(self, mask: Pixels) -> Pixels:
        """First step for a mask of class indices."""
        return resize_mask(mask, self.resized(_size(mask)))

    @property
    def fill(self) -> NDArray[np.uint8]:
        """Colour of the padding: the mean, which is zero once normalised."""
        return np.array([min(255, max(0, round(255 * value))) for value in self.mean], np.uint8)

    def fit(self, image: Pixels) -> Pixels:
        """Second step for an image: the size that the model sees."""
        match self.mode:
            case "crop":
                return np.ascontiguousarray(centre_crop(image, self.image_size))
            case "letterbox" | "stretch":
                return pad_to_size(image, self.image_size, self.fill)

    def fit_sample(self, sample: Sample) -> Sample:
        """Second step for an image with its labels: the size that the model sees, the padding void."""
        match self.mode:
            case "crop":
                return Sample(self.fit(sample.image))
            case "letterbox" | "stretch":
                mask = sample.mask
                fitted = None if mask is None else pad_to_size(mask, self.image_size, VOID)
                return replace(sample, image=self.fit(sample.image), mask=fitted)

    def normalize(self, images: Tensor) -> Tensor:
        """Map uint8, B x H x W x C, to normalised float32, B x C x H x W."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return images.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std).contiguous()

    def boxes_to_original(self, boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Lead boxes of what the model sees back to the image of `size`, and cut them at its border.

        Args:
            boxes: N x 4, x_min y_min x_max y_max, in pixels of what the model sees.
            size: Height and width of the decoded image.
        """
        if self.mode == "crop":
            raise DataError("a crop can't be led back to the whole image", where="data.fit", found="crop")
        return clip_boxes(scale_boxes(boxes, self.resized(size), size), size)

    def to_json(self) -> dict[str, object]:
        """Plain JSON, for the model's bundle."""
        return asdict(self) | {"intensity": self.intensity.model_dump(mode="json")}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` wrote.

        Raises:
            DataError: If a field is missing, of the wrong type, or nothing that images can be made of.
        """
        try:
            found = TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            raise DataError("the model's eval transform can't be read", found=str(error)) from error
        if {len(found.mean), len(found.std)} != {found.channels}:
            counts = f"{len(found.mean)} and {len(found.std)} for {found.channels} channels"
            raise DataError("the model's eval transform has too few or too many means", found=counts)
        return found


def enlarged(size: Size, share: float) -> Size:
    """The window of which `size` is a share in both directions."""
    return round(size[0] / share), round(size[1] / share)


def _size(array: Pixels) -> Size:
    return array.shape[0], array.shape[1]


def build_eval_transform(
    data: Data,
    mode: FitMode,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: Interpolation = "bilinear",
    image_size: Size = (224, 224),
    crop_fraction: float = 0.875,
    normalization: Normalization | None = None,
) -> EvalTransform:
    """Build the transform from the data section and what the weights were trained with.

    Args:
        data: Its image size wins over that of the weights.
        mode: How an image gets the model's size, see `decide_fit`.
        mean: Of the weights, per channel, on the 0..1 scale; adapted to `data.channels`.
        std: Of the weights.
        interpolation: Of the weights.
        image_size: Of the weights, height and width in pixels.
        crop_fraction: Of the weights: side of the crop over the side of the window before it.
        normalization: Replaces mean and std of the weights; adapted likewise.
    """
    size = image_size if data.image_size is None else size_of(data.image_size)
    if normalization is not None:
        mean, std = normalization.mean, normalization.std
    mean, std = adapt_statistics(mean, std, data.channels)
    return EvalTransform(
        image_size=size,
        resize=enlarged(size, crop_fraction) if mode == "crop" else size,
        mean=mean,
        std=std,
        interpolation=interpolation,
        channels=data.channels,
        intensity=data.intensity,
        mode=mode,
    )
