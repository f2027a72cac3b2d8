"""albumentations by name: which transforms a spec may name, and whether their arguments hold.

albumentations 2.0.8 warns about an unknown argument and goes on; here it is an error.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from transferflow.spec.sections.augmentation import Augmentation, Custom, OneOf, Transform
from transferflow.spec.sections.truth import Moving
from transferflow.spec.wording import did_you_mean

Found = tuple[tuple[str, ...], str]

_OURS = "transferflow scales, normalises and makes tensors itself"
_OTHER_IMAGES = "it needs other images or more than the image, its boxes and its mask"
_REFUSED = {
    "Lambda": "it runs code",
    "TextImage": "it reads fonts and text from elsewhere",
    "Normalize": _OURS,
    "ToFloat": _OURS,
    "FromFloat": _OURS,
    "ToTensorV2": _OURS,
    "FDA": _OTHER_IMAGES,
    "HistogramMatching": _OTHER_IMAGES,
    "PixelDistributionAdaptation": _OTHER_IMAGES,
    "Mosaic": _OTHER_IMAGES,
    "OverlayElements": _OTHER_IMAGES,
    "RandomCropNearBBox": _OTHER_IMAGES,
}
_BASES = frozenset({"BasicTransform", "DualTransform", "ImageOnlyTransform", "Transform3D"})
_TENSORS = "albumentations.pytorch"
_LARGEST_NUMBER = 8192
_TRIAL_SIZE = (80, 96)
_TRIALS = 3
_KEYS = {"boxes": "bboxes", "mask": "mask"}
"""What albumentations calls them."""


@cache
def load_albumentations() -> ModuleType:
    """Import albumentations without the look for a newer version that its import makes, and without torch.

    Only its tensor conversion, which we refuse, needs torch; importing that takes longer than all the rest.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    if "torch" in modules or _TENSORS in modules:
        return importlib.import_module("albumentations")
    modules[_TENSORS] = None  # an ImportError there, which albumentations expects
    try:
        return importlib.import_module("albumentations")
    finally:
        del modules[_TENSORS]


@cache
def transform_names() -> tuple[str, ...]:
    """Names of all transforms that a spec may use, sorted."""
    module = load_albumentations()
    return tuple(sorted(name for name in dir(module) if _is_transform(module, name) and name not in _REFUSED))


def _is_transform(module: ModuleType, name: str) -> bool:
    found = getattr(module, name)
    return (
        inspect.isclass(found)
        and issubclass(found, module.BasicTransform)
        and not issubclass(found, module.Transform3D)
        and name not in _BASES
    )


def build_transform(step: Transform) -> Any:  # noqa: ANN401 - albumentations has no types
    """Build a transform of the spec, which `transform_problems` has found to be good.

    Raises:
        ValueError: If the name is not that of a transform, or an argument is wrong.
    """
    if step.name not in transform_names():
        raise ValueError(f"no transform named {step.name!r}")
    kind = getattr(load_albumentations(), step.name)
    known = inspect.signature(kind.__init__).parameters
    defaults = {n: p.default for n, p in known.items() if p.default is not inspect.Parameter.empty}
    # Checked here first: what its own check stumbles over, albumentations replaces by default values.
    kind.InitSchema(**defaults | step.args | {"p": step.probability}, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice such as "use Affine instead"
        return kind(p=step.probability, **step.args)


def check_transforms(
    augmentation: Augmentation, channels: int, moving: Moving = None
) -> list[tuple[tuple[str, ...], str]]:
    """Find what is wrong with named transforms; albumentations is imported only when there are any.

    Returns:
        Key path below `augmentation` and problem, for each.
    """
    return list(_step_problems(augmentation, channels, moving))


def _step_problems(augmentation: Augmentation, channels: int, moving: Moving) -> Iterator[Found]:
    if not isinstance(augmentation, Custom):
        return
    for number, step in enumerate(augmentation.transforms):
        place: tuple[str, ...] = ("transforms", str(number))
        candidates = step.one_of if isinstance(step, OneOf) else (step,)
        for choice, transform in enumerate(candidates):
            inner = (*place, "one_of", str(choice)) if isinstance(step, OneOf) else place
            for path, problem in transform_problems(transform, channels, moving):
                yield (*inner, *path), problem


def transform_problems(step: Transform, channels: int, moving: Moving) -> Iterator[Found]:
    """Say what is wrong with a transform of the spec: its name, its arguments, their values, its effect."""
    if step.name not in transform_names():
        yield ("name",), _unknown_name(step.name)
        return
    known = _arguments(step.name)
    unknown = [name for name in step.args if name not in known]
    for name in unknown:
        yield ("args", name), _unknown_argument(step.name, name, known)
    large = [name for name, value in step.args.items() if _largest(value) > _LARGEST_NUMBER]
    for name in large:
        yield ("args", name), f"{step.args[name]} is too large; numbers go up to {_LARGEST_NUMBER}"
    if unknown or large:
        return
    try:
        transform = build_transform(step)
    except Exception as error:  # whatever the checks of another library stumble over
        yield from _value_problems(step.name, error)
        return
    problem = _lost_target(transform, moving) or _try_out(step, channels, moving)
    if problem:
        yield ("name",), problem


def _unknown_name(name: str) -> str:
    if name in _REFUSED:
        return f"{name} can't be used: {_REFUSED[name]}"
    near = difflib.get_close_matches(name, transform_names(), n=3)
    there = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(transform_names())}"
    return f"there is no transform {name!r}; {there}"


def _unknown_argument(transform: str, name: str, known: tuple[str, ...]) -> str:
    if name == "p":
        return "the chance is `probability`, beside `args`"
    meant = f"{did_you_mean(name, known)} ".lstrip()
    return f"{transform} has no argument {name!r}; {meant}it has: {', '.join(known) or 'none'}"


def _arguments(name: str) -> tuple[str, ...]:
    parameters = inspect.signature(getattr(load_albumentations(), name).__init__).parameters
    return tuple(p for p in parameters if p not in ("self", "p"))


def _largest(value: object) -> float:
    if isinstance(value, Mapping):
        return max((_largest(part) for part in value.values()), default=0)
    if isinstance(value, list | tuple):
        return max((_largest(part) for part in value), default=0)
    return abs(value) if isinstance(value, int | float) else 0


def _value_problems(transform: str, error: Exception) -> Iterator[Found]:
    if not isinstance(error, ValidationError):
        yield ("args",), f"{transform}: {_first_line(error)}"
        return
    by_argument: dict[str, list[str]] = {}
    for problem in error.errors():
        argument = str(problem["loc"][0]) if problem["loc"] else ""
        by_argument.setdefault(argument, []).append(problem["msg"])
    for argument, messages in by_argument.items():
        path = ("args", argument) if argument else ("args",)
        yield path, f"{transform}: {' or '.join(dict.fromkeys(messages))}"


def _lost_target(transform: Any, moving: Moving) -> str | None:  # noqa: ANN401 - albumentations has no types
    """Why boxes or masks would no longer fit the image."""
    module = load_albumentations()
    if moving is None or isinstance(transform, module.ImageOnlyTransform):
        return None
    if _KEYS[moving] in transform.available_keys:
        return None
    return f"{type(transform).__name__} moves the image, but not its {moving}"


def _try_out(step: Transform, channels: int, moving: Moving) -> str | None:
    """Run the transform on noise: some fail on anything but RGB, and some return another kind of image."""
    module = load_albumentations()
    always = build_transform(step.model_copy(update={"probability": 1.0}))
    boxes = module.BboxParams("pascal_voc", label_fields=["labels"]) if moving == "boxes" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that boxes have no part in a change of colour
        composed = module.Compose([always], bbox_params=boxes)
    sample = {"image": np.random.default_rng(0).integers(0, 256, (*_TRIAL_SIZE, channels), np.uint8)}
    if moving == "mask":
        sample["mask"] = np.ones(_TRIAL_SIZE, np.uint8)
    if moving == "boxes":
        sample |= {"bboxes": np.array([[20.0, 20.0, 60.0, 60.0]]), "labels": np.array([0])}
    for seed in range(_TRIALS):
        composed.set_random_state(np.random.default_rng(seed), random.Random(seed))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = composed(**sample)["image"]
        except Exception as error:  # whatever a transform of another library raises
            if type(error).__name__ == "CropSizeError" or "for crop" in str(error):
                return None  # the real images may be larger than the noise
            if isinstance(error, KeyError):
                return f"{step.name} needs {error.args[0]}, which the images of this task do not have"
            return f"{step.name} fails on images with {channels} channels: {_first_line(error)}"
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
            return f"{step.name} makes {image.dtype} of shape {image.shape} from {channels} channels of uint8"
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
