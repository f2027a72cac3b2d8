"""Images inside the page: small, and encoded as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from transferflow.evaluation.pictures import ImageArray, Picture

LONGEST_SIDE = 320
LONGEST_SIDE_OF_MANY = 480
"""Of a panel beside others: boxes and outlines need the room."""
LONGEST_SIDE_OF_STRIP = 960
"""Of a panel in a row of its own."""
STRIP = 3.0
"""Width over height from which on a picture has a row of its own, its panels one below the other."""
SMALL_SIDE = 96
"""Images up to this size are kept as they are (PNG) and enlarged without smoothing."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class InlineImage:
    """An image for an `<img>` tag.

    Attributes:
        uri: A data URI.
        width: Pixels.
        height: Pixels.
        label: Text under it.
        pixelated: Whether the browser should enlarge it without smoothing.
    """

    uri: str
    width: int
    height: int
    label: str
    pixelated: bool


@dataclass(frozen=True)
class InlinePicture:
    """A picture whose panels are encoded.

    Attributes:
        panels: One or more.
        title: Bold line.
        lines: Small lines under it.
        strip: Whether it is so wide that it has a row of its own.
    """

    panels: tuple[InlineImage, ...]
    title: str
    lines: tuple[str, ...]
    strip: bool


def inline_image(image: ImageArray, label: str = "", longest: int = LONGEST_SIDE) -> InlineImage:
    """Shrink where needed and encode.

    Args:
        image: uint8, height x width or height x width x 3.
        label: Text under it.
        longest: Longest side, in pixels.
    """
    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    small = max(picture.size) <= SMALL_SIDE
    buffer = io.BytesIO()
    if small:
        picture.save(buffer, "PNG", optimize=True)
    else:
        # Full colour resolution: thin coloured lines would fade without it. Not optimised: Pillow fails
        # where such an image then takes more than a byte per pixel, as noise does.
        picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    kind = "png" if small else "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return InlineImage(uri, picture.width, picture.height, label, small)


def inline_picture(picture: Picture) -> InlinePicture:
    """Encode all panels of a picture."""
    strip = all(panel.image.shape[1] >= STRIP * panel.image.shape[0] for panel in picture.panels)
    longest = LONGEST_SIDE if len(picture.panels) == 1 else LONGEST_SIDE_OF_MANY
    longest = LONGEST_SIDE_OF_STRIP if strip else longest
    panels = tuple(inline_image(panel.image, panel.label, longest) for panel in picture.panels)
    return InlinePicture(panels, picture.title, picture.lines, strip)
