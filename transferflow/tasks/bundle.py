"""The bundle: a trained model on disk with all that is needed to rebuild and serve it.

```
weights.safetensors   every parameter and buffer
model.json            classes, the spec (task, backbone, head, …), the eval transform, the least score
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import StoreError
from transferflow.models.layers import LayerGroup
from transferflow.spec import ExperimentSpec
from transferflow.store import write_atomic
from transferflow.tasks.build import build_task

FORMAT = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"


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
    """Write `weights.safetensors` and `model.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    description = {
        "format": FORMAT,
        "classes": list(classes),
        "spec": spec.model_dump(mode="json", exclude_unset=True),
        "eval_transform": transform.to_json(),
        "min_score": min_score,
    }
    write_atomic(folder / DESCRIPTION, json.dumps(description, indent=2))


def read_min_score(folder: Path) -> float | None:
    """Least score of a box that counts, 0..1, without loading the model; `None` where there are no scores."""
    found: float | None = json.loads((folder / DESCRIPTION).read_text())["min_score"]
    return found


def load_bundle(folder: Path, device: torch.device | str = "cpu") -> Bundle:
    """Rebuild the model and load its weights strictly.

    Raises:
        StoreError: If the folder is no bundle, or is damaged.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        if description["format"] != FORMAT:
            raise StoreError(
                "the bundle was written by another version",
                where=str(folder),
                found=f"format {description['format']}",
                allowed=f"format {FORMAT}",
            )
        spec = ExperimentSpec.model_validate(description["spec"])
        classes = tuple(description["classes"])
        transform = EvalTransform.from_json(description["eval_transform"])
        min_score = description.get("min_score")
        min_score = None if min_score is None else float(min_score)
        state = load_file(folder / WEIGHTS)
        parts = build_task(spec.task).build_model(spec, classes, pretrained=False)
        parts.model.load_state_dict(state, strict=True)
    except FileNotFoundError as error:
        raise StoreError(
            f"no model bundle: {Path(error.filename).name} is missing",
            where=str(folder),
            allowed=f"a folder with {DESCRIPTION} and {WEIGHTS}",
        ) from error
    except (KeyError, TypeError, ValueError, ValidationError, SafetensorError, RuntimeError) as error:
        raise StoreError(
            "the model bundle is damaged", where=str(folder), found=f"{type(error).__name__}: {error}"[:500]
        ) from error
    return Bundle(spec, classes, transform, parts.model.to(device).eval(), parts.groups, min_score)
