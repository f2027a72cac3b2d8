"""The images of a request: files of a form, or base64 in JSON."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from fastapi import HTTPException, Request
from PIL import UnidentifiedImageError

from transferflow.data.files.images import OtherKindError, open_image
from transferflow.data.files.room import TooLargeError
from transferflow.limits import MAX_REQUEST_IMAGES
from transferflow.serving.as_json import from_base64


async def read_images(request: Request) -> list[bytes]:
    """Contents of the image files of a request.

    Raises:
        HTTPException: 415 for another kind of body, 413 for too many images, 422 for none or no base64.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = await _of_form(request)
    elif kind == "application/json":
        images = _of_json(await request.body())
    else:
        raise HTTPException(415, "send multipart/form-data with files, or application/json with `images`")
    if not images:
        raise HTTPException(422, "there is no image in the request")
    if len(images) > MAX_REQUEST_IMAGES:
        raise HTTPException(413, f"at most {MAX_REQUEST_IMAGES} images per request, found {len(images)}")
    return images


async def _of_form(request: Request) -> list[bytes]:
    async with request.form(max_files=MAX_REQUEST_IMAGES + 1, max_fields=16) as form:
        return [await part.read() for _, part in form.multi_items() if not isinstance(part, str)]


def _of_json(body: bytes) -> list[bytes]:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the body is no JSON") from error
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise HTTPException(422, 'send {"images": ["…"]}: a list of image files in base64')
    try:
        return [from_base64(image) for image in images]
    except ValueError as error:
        raise HTTPException(422, f"an image is no base64: {error}") from error


def too_many_pixels(image: bytes, max_pixels: int) -> bool:
    """Whether an image's header asks for more pixels than it may; what has no such header is read later."""

    def claim(width: int, height: int, bytes_per_pixel: int) -> None:
        if width * height > max_pixels:
            raise TooLargeError("too many pixels")

    try:
        open_image(BytesIO(image), claim).close()
    except TooLargeError:
        return True
    except (OtherKindError, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False  # decoding says what is wrong with it
    return False
