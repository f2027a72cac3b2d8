"""The bundle: a trained model on disk with all that is needed to rebuild and serve it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import nn

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import DataError, StoreError
from transferflow.limits import MAX_LABEL
from transferflow.models.cut.folding import apply_folds, find_folds
from transferflow.models.layers import LayerGroup
from transferflow.spec import ExperimentSpec
from transferflow.store import write_atomic
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle_files import WEIGHTS, read_description, write_description
from transferflow.training.device import image_layout

_CLASSES = TypeAdapter(tuple[Annotated[str, Field(min_length=1, max_length=MAX_LABEL)], ...])
_SCORE = TypeAdapter(Annotated[float, Field(ge=0, le=1)] | None)


@dataclass(frozen=True)
class Bundle:
    """A model that is ready to predict.

    Attributes:
        spec: The spec it was trained with.
        classes: Class names in order.
        transform: The one eval transform.
        model: In eval mode.
        groups: Its layer groups.
        min_score: Least score of a box that counts, 0..1; `None` where there are no scores.
    """

    spec: ExperimentSpec
    classes: tuple[str, ...]
    transform: EvalTransform
    model: nn.Module
    groups: tuple[LayerGroup, ...]
    min_score: float | None


def save_bundle(
    folder: Path,
    spec: ExperimentSpec,
    classes: Sequence[str],
    transform: EvalTransform,
    model: nn.Module,
    *,
    min_score: float | None,
) -> None:
    """Write the bundle into `folder`, defaults written out: other ones later do not change the model."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_atomic(folder / WEIGHTS, save_tensors(state))  # save_file would hide it from other users
    write_description(
        folder,
        {
            "classes": list(classes),
            "spec": spec.model_dump(mode="json"),
            "eval_transform": transform.to_json(),
            "min_score": min_score,
        },
    )


def read_min_score(folder: Path) -> float | None:
    """Least score of a box that counts, 0..1, without loading the model; `None` where there are no scores."""
    found: float | None = read_description(folder)["min_score"]
    return found


def load_bundle(folder: Path, device: torch.device | str = "cpu") -> Bundle:
    """Rebuild the model and load its weights strictly.

    Raises:
        StoreError: If the folder is no bundle, is damaged, or holds a model that this version can't rebuild.
    """
    description = read_description(folder)
    try:
        spec = ExperimentSpec.model_validate(description["spec"])
        classes = _CLASSES.validate_python(description["classes"])
        transform = EvalTransform.from_json(description["eval_transform"])
        min_score = _SCORE.validate_python(description["min_score"])
        parts = build_parts(spec, classes, pretrained=False)
        parts.model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
        _require_finite(parts.model)
    except (KeyError, TypeError, ValueError, SafetensorError, RuntimeError, DataError) as error:
        raise StoreError(
            "the model can't be rebuilt from its bundle",
            where=str(folder),
            found=f"{type(error).__name__}: {error}"[:500],
            hint="it may have been trained with another version of transferflow or of a backbone's library",
        ) from error
    return Bundle(spec, classes, transform, parts.model.to(device).eval(), parts.groups, min_score)


def load_for_answers(folder: Path, device: torch.device) -> Bundle:
    """Load a bundle whose model answers as quickly as the device lets it, and is good for nothing else.

    It is laid out as in training, and its batch norm is folded (`models.cut.folding`): the same answers up to
    rounding, by other tensors than those in the bundle.

    Raises:
        StoreError: See `load_bundle`.
    """
    bundle = load_bundle(folder, device)
    model, transform = bundle.model, bundle.transform
    apply_folds(model, find_folds(model, (transform.channels, *transform.image_size)))
    model.to(memory_format=image_layout(device))
    return bundle


def _require_finite(model: nn.Module) -> None:
    """Refuse weights of which every answer would be NaN.

    Raises:
        ValueError: If there are such.
    """
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds values that are not finite")
