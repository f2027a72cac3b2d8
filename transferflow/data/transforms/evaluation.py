"""The evaluation transform: the one way from a decoded image to what the model sees.

It has three steps. `resize` makes the image small and does not depend on anything but the image: its result
is what the decoded-image cache keeps, and what augmentation starts from. `fit` gives it the model's size.
`batch` normalises the images of a batch, and rescales them where they keep their shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
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
    kept_size,
    pad_to_size,
    rescaled_size,
    resize_image,
    resize_mask,
    scale_boxes,
)
from transferflow.data.transforms.numbers import normalize_pixels, pad_images
from transferflow.data.transforms.sample import VOID, Sample
from transferflow.errors import DataError
from transferflow.spec.sections.backbone import Normalization
from transferflow.spec.sections.data import Data, FitMode, KeptShape
from transferflow.spec.sections.intensity import FullRange, Intensity
from transferflow.spec.sections.normalization import adapt_statistics
from transferflow.spec.sections.size import Size, size_of

Mode = FitMode | Literal["rescale", "whole"]
_Side = Annotated[int, Field(ge=16, le=10_000)]
_AnySize = Annotated[tuple[_Side, _Side], BeforeValidator(lambda given: size_of(given))]
"""Bundles of earlier versions have one number, the side of a square."""
_Deviation = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class EvalTransform:
    """Resize, fit to the model's size, normalise; the same arithmetic (float32) wherever it runs.

    Attributes:
        image_size: Height and width that the model sees, in pixels; of `rescale` the shorter and the longer
            side at most, whichever way the image lies; of `whole` the window that training cuts out.
        resize: Window that the first step makes the image cover (`crop`), fit into (`letterbox`) or fill
            (`stretch`); height and width in pixels.
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        interpolation: Resize filter (antialiased).
        channels: Channels that the model sees.
        intensity: How values wider than 8 bits become 0..255 when the image is decoded.
        mode: `crop` cuts the centre; `letterbox` keeps the whole image and pads it at the bottom and the
            right with the mean colour; `stretch` keeps it and distorts. `rescale` keeps the image's shape:
            neither step moves a pixel, and the normalised values are rescaled, exactly as torchvision's
            `GeneralizedRCNNTransform` does it. `whole` keeps the shape, too, and resizes pixels if at all.
            Boxes and masks can be led back from all but `crop`.
        shorter: Of `whole`: the shorter side after the first step; `None`: nothing is resized.
        longer: Of `whole`: the longer side at most.
        tile: Of `whole`: images with a longer side than this are computed in overlapping tiles of that side.
    """

    image_size: _AnySize
    resize: _AnySize
    mean: tuple[FiniteFloat, ...]
    std: tuple[_Deviation, ...]
    interpolation: Interpolation = "bilinear"
    channels: Annotated[StrictInt, Field(ge=1, le=64)] = 3
    intensity: Intensity = field(default_factory=FullRange)
    mode: Mode = "crop"
    shorter: _Side | None = None
    longer: _Side | None = None
    tile: _Side | None = None

    def __call__(self, image: Pixels) -> Tensor:
        """Map a decoded image (uint8, H x W x C, any size) to float32, C x height x width."""
        fitted = self.fit(self.resize_image(image))
        return self.batch(torch.from_numpy(np.stack([fitted])), [_size(fitted)])[0][0]

    @property
    def keeps_shape(self) -> bool:
        """Whether the model sees each image in a size of its own."""
        return self.mode in ("rescale", "whole")

    @property
    def rule(self) -> dict[str, int | None]:
        """What decides, besides `mode` and `resize`, how large an image is after the first step."""
        return {"shorter": self.shorter, "longer": self.longer} if self.mode == "whole" else {}

    @property
    def in_words(self) -> str:
        """What the model sees of an image."""
        height, width = self.image_size
        if self.mode == "whole":
            sides = "" if self.shorter is None else f", shorter side {self.shorter} pixels"
            return f"whole images{sides} (windows of {height} x {width} pixels in training)"
        if self.mode == "rescale":
            return f"shorter side {height}, longer side at most {width} pixels"
        return f"{height} x {width} pixels"

    def resized(self, size: Size) -> Size:
        """Size after the first step, for an image of `size` (height, width)."""
        match self.mode:
            case "crop":
                return covering_size(size, self.resize)
            case "letterbox":
                return fitting_size(size, self.resize)
            case "stretch":
                return self.resize
            case "rescale":
                return size
            case "whole":
                return kept_size(size, self.shorter, self.longer)

    def seen(self, size: Size) -> Size:
        """Height and width of an image of `size` in what the model sees, padding left out."""
        return rescaled_size(size, *self.image_size) if self.mode == "rescale" else self.resized(size)

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
            case "rescale" | "whole":
                return image

    def fit_sample(self, sample: Sample) -> Sample:
        """Second step for an image with its labels: the size that the model sees, the padding void."""
        match self.mode:
            case "crop":
                return Sample(self.fit(sample.image))
            case "letterbox" | "stretch":
                mask = sample.mask
                fitted = None if mask is None else pad_to_size(mask, self.image_size, VOID)
                return replace(sample, image=self.fit(sample.image), mask=fitted)
            case "rescale" | "whole":
                if sample.boxes is None:
                    return sample
                size = _size(sample.image)
                return replace(sample, boxes=scale_boxes(sample.boxes, size, self.seen(size)))

    def show(self, image: Pixels) -> Pixels:
        """A fitted image in the size that the model sees, to be looked at: boxes are in its pixels."""
        return resize_image(image, self.seen(_size(image)), "bilinear") if self.mode == "rescale" else image

    def normalize(self, images: Tensor) -> Tensor:
        """Map uint8, B x H x W x C, to normalised float32, B x C x H x W: see `normalize_pixels`."""
        return normalize_pixels(images, self.mean, self.std)

    def batch(self, images: Tensor, sizes: Sequence[Size]) -> tuple[Tensor, tuple[Size, ...]]:
        """Third step: images as the model sees them.

        Args:
            images: Fitted images, uint8, B x H x W x C.
            sizes: Height and width of each; the rest of it, at the bottom and the right, is padding.

        Returns:
            float32, B x C x H x W, normalised, padded with zeros, on the device of `images`; and height and
            width of each image in it, nothing where all fill it.
        """
        if self.mode != "rescale":
            return self.normalize(images), ()
        # Laid out as torchvision has them: another layout is another order of additions.
        apart = (
            self.normalize(image[None, : size[0], : size[1]]).contiguous()
            for image, size in zip(images, sizes, strict=True)
        )
        seen = [
            F.interpolate(image, self.seen(size), mode="bilinear")[0]
            for image, size in zip(apart, sizes, strict=True)
        ]
        return pad_images(seen), tuple((image.shape[-2], image.shape[-1]) for image in seen)

    def boxes_to_original(self, boxes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
        """Lead boxes of what the model sees back to the image of `size`, and cut them at its border.

        Args:
            boxes: N x 4, x_min y_min x_max y_max, in pixels of what the model sees.
            size: Height and width of the decoded image.
        """
        if self.mode == "crop":
            raise DataError("a crop can't be led back to the whole image", where="data.fit", found="crop")
        return clip_boxes(scale_boxes(boxes, self.seen(size), size), size)

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
    fit: FitMode | KeptShape,
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
        fit: How an image gets the model's size, see `decide_fit`.
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
    kept = fit if isinstance(fit, KeptShape) else KeptShape()
    match fit:
        case KeptShape(crop=None, shorter=int(shorter), longer=int(longer)):
            mode: Mode = "rescale"
            size, kept = (shorter, longer), KeptShape()
        case KeptShape(crop=crop):
            mode, size = "whole", size if crop is None else size_of(crop)
        case _:
            mode = fit
    return EvalTransform(
        image_size=size,
        resize=enlarged(size, crop_fraction) if mode == "crop" else size,
        mean=mean,
        std=std,
        interpolation=interpolation,
        channels=data.channels,
        intensity=data.intensity,
        mode=mode,
        shorter=kept.shorter,
        longer=kept.longer,
        tile=kept.tile,
    )
