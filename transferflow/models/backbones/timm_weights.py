"""timm's pretrained tags: names, files and what they were trained with."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from transferflow.errors import PlanError, WeightsError
from transferflow.models.layers import Preprocessing
from transferflow.models.weights.files import HubFile, Location, Url, WeightFile

if TYPE_CHECKING:  # timm takes over half a second to import, which a plan of another source need not wait for
    from timm.models import PretrainedCfg

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
_HASH = re.compile(r"-([0-9a-f]{8,64})\.")


@dataclass(frozen=True)
class TimmChoice:
    """A timm model with one of its tags.

    Attributes:
        name: Architecture.
        tag: Pretrained tag; empty when the model has none.
        config: What timm says about the weights.
        pretrained: Whether weights are wanted.
    """

    name: str
    tag: str
    config: PretrainedCfg
    pretrained: bool


def resolve_timm(name: str, weights: str) -> TimmChoice:
    """The model and tag that the spec means; the tag may stand in `name` too (`vit_base_patch16_224.dino`).

    Raises:
        PlanError: If timm has no such model.
        WeightsError: If the model has no such tag, or no weights at all.
    """
    import timm
    from timm.models import PretrainedCfg, get_pretrained_cfg, split_model_name_tag

    architecture, tag = split_model_name_tag(name)
    if not timm.is_model(architecture):
        close = difflib.get_close_matches(architecture, timm.list_models(), 4, 0.5)
        raise PlanError(
            "no such timm model",
            where="backbone.name",
            found=name,
            allowed=f"did you mean {', '.join(close)}?" if close else "a name that timm knows",
            hint="list them with `transferflow backbones list --source timm --search TEXT`",
        )
    wanted = weights.lower() != "none"
    if wanted and weights != "DEFAULT":
        if tag and tag != weights:
            raise WeightsError(
                "name and weights give two different tags",
                where="backbone.weights",
                found=f"{tag} and {weights}",
                allowed="one of them",
            )
        tag = weights
    tags = timm_tags(architecture)
    if tag and tag not in tags:
        close = difflib.get_close_matches(tag, tags, 5, 0.3)
        raise WeightsError(
            f"{architecture} has no such pretrained tag",
            where="backbone.weights",
            found=tag,
            allowed=", ".join(["DEFAULT", "none", *(close or tags)]),
        )
    config = get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture) or PretrainedCfg()
    choice = TimmChoice(architecture, tag or str(config.tag or ""), config, wanted)
    if wanted and not config.has_weights:
        raise WeightsError(
            f"timm publishes no weights for {architecture}",
            where="backbone.weights",
            found=weights,
            allowed=", ".join(["none", *tags]),
        )
    return choice


def timm_tags(name: str) -> tuple[str, ...]:
    """Pretrained tags of an architecture, the default first."""
    return _all_tags().get(name, ())


@cache
def _all_tags() -> Mapping[str, tuple[str, ...]]:
    """Tags by architecture, in one pass: timm's own look-up by name goes through all of them each time."""
    from timm.models import get_pretrained_cfg, list_pretrained, split_model_name_tag

    found: dict[str, list[str]] = {}
    for full in list_pretrained():
        name, tag = split_model_name_tag(full)
        found.setdefault(name, []).append(tag)
    for name, tags in found.items():
        config = get_pretrained_cfg(name)
        if config is not None and config.tag in tags:
            tags.insert(0, str(config.tag))
    return {name: tuple(dict.fromkeys(tag for tag in tags if tag)) for name, tags in found.items()}


def timm_file(choice: TimmChoice) -> WeightFile:
    """The file of the pretrained tag."""
    config = choice.config
    return WeightFile(
        source="timm",
        name=choice.name,
        tag=choice.tag,
        location=_location(config),
        licence=str(config.license or ""),
        mean=tuple(config.mean or ()),
        std=tuple(config.std or ()),
    )


def timm_preprocessing(choice: TimmChoice) -> Preprocessing:
    """What the weights were trained with."""
    config, default = choice.config, Preprocessing()
    _, *size = config.input_size or (3, *default.image_size)
    return Preprocessing(
        mean=tuple(config.mean or default.mean),
        std=tuple(config.std or default.std),
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        image_size=(int(size[0]), int(size[1])),
        crop_fraction=float(config.crop_pct or default.crop_fraction),
    )


def _location(config: PretrainedCfg) -> Location:
    if config.hf_hub_id:
        given = config.hf_hub_filename
        names = (SAFE, PICKLED) if not given else (_safe_twin(given), given)
        return HubFile(str(config.hf_hub_id), tuple(dict.fromkeys(names)))
    url = str(config.url)
    file_name = url.rsplit("/", 1)[-1]
    hashed = _HASH.search(file_name)
    target = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    return Url(url, target, hashed.group(1) if hashed else None)


def _safe_twin(name: str) -> str:
    if name.endswith("open_clip_pytorch_model.bin"):
        return name.replace("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
    return f"{name[:-4]}.safetensors" if name.endswith(".bin") else name
