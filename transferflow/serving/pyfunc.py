"""A bundle as an MLflow pyfunc: what `mlflow models serve` and `mlflow.pyfunc.load_model` load.

MLflow imports this module by the name that a version's `MLmodel` gives; nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from transferflow.errors import DataError
from transferflow.inference.model import answer_images
from transferflow.limits import MAX_REQUEST_IMAGES
from transferflow.serving.as_json import answer_json, from_base64
from transferflow.tasks.bundle import Bundle, load_for_answers
from transferflow.training.device import pick_device


class Table(Protocol):
    """What MLflow hands over: a pandas data frame, of which the first column counts."""

    @property
    def columns(self) -> Sequence[str]:
        """Names."""
        ...

    def __getitem__(self, column: str) -> Any: ...  # noqa: ANN401 - as pandas has it


class ImageModel:
    """Answers the images of a column.

    Args:
        bundle: The model.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def predict(self, model_input: Table, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """One answer per image, as `transferflow serve` gives them.

        Args:
            model_input: Contents of image files in the first column: bytes, or their text in base64. A path
                is never read: whoever asks a server may not choose its files.
            params: There are none.

        Raises:
            DataError: If a cell is neither, or there are too many.
        """
        cells = list(model_input[model_input.columns[0]])
        if len(cells) > MAX_REQUEST_IMAGES:
            raise DataError(
                "too many images at once", found=str(len(cells)), allowed=f"at most {MAX_REQUEST_IMAGES}"
            )
        images = [("image", _content(cell)) for cell in cells]
        return [answer_json(one) for one in answer_images(self._bundle, images)]


def _content(cell: object) -> bytes:
    if isinstance(cell, bytes | bytearray):
        return bytes(cell)
    if not isinstance(cell, str):
        raise DataError(
            "this is no image", found=type(cell).__name__, allowed="bytes of an image file, or base64"
        )
    try:
        return from_base64(cell)
    except ValueError as error:
        raise DataError("an image is no base64", found=cell[:40]) from error


def _load_pyfunc(data_path: str) -> ImageModel:
    """Load a bundle; MLflow calls it by this name.

    Args:
        data_path: Folder of the bundle.
    """
    return ImageModel(load_for_answers(Path(data_path), pick_device("auto")))
