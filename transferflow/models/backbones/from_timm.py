"""Any timm model as a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.errors import PlanError, WeightsError
from transferflow.models.backbones.grouping import compile_groups
from transferflow.models.backbones.matching import unfit_values, values_error
from transferflow.models.backbones.sizes import patch_error
from transferflow.models.backbones.timm_slices import slice_timm
from transferflow.models.backbones.timm_weights import TimmChoice, timm_preprocessing
from transferflow.models.channels import ChannelPlan, adapt_input, first_conv_paths
from transferflow.models.layers import Backbone, FeatureLevel, Preprocessing
from transferflow.models.weights.state_files import check_file, failure
from transferflow.spec.sections.size import Size, show_size

FINEST_STRIDE = 4


@dataclass(frozen=True)
class LevelSource:
    """Which of timm's intermediate outputs a feature level is."""

    index: int
    level: FeatureLevel


class TimmBackbone(Backbone):
    """A timm model without its classifier."""

    def __init__(self, model: nn.Module, first_convs: Sequence[str], preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.first_convs = tuple(f"model.{path}" for path in first_convs)
        self.num_features = _width(model)
        self.groups = compile_groups(self, slice_timm(model, "model"))
        sources = _level_sources(model)
        self.levels = tuple(source.level for source in sources)
        self._indices = [source.index for source in sources]

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, B x num_features."""
        features: Tensor = self.model(images)
        return features

    def forward_levels(self, images: Tensor) -> list[Tensor]:
        """Feature maps, from fine to coarse; a plain ViT has one, normalised.

        Raises:
            PlanError: If the model gives no feature maps.
        """
        intermediates: Any = getattr(self.model, "forward_intermediates", None)
        if not self.levels or intermediates is None:
            raise PlanError(
                "this backbone gives no feature maps, only pooled features",
                where="backbone.name",
                found=type(self.model).__name__,
                allowed="a convolutional network, a ViT or a Swin for detection and segmentation",
            )
        found: list[Tensor] = intermediates(
            images,
            indices=self._indices,
            norm=len(self._indices) == 1,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return found


def build_timm(
    choice: TimmChoice,
    preprocessing: Preprocessing,
    plan: ChannelPlan,
    *,
    file: Path | None = None,
    device: str = "cpu",
) -> TimmBackbone:
    """Build the model, load `file` strictly, and adapt its first convolution.

    Args:
        choice: Model and tag.
        preprocessing: What the weights were trained with; `image_size` is what the model is built for, and
            what position embeddings are resampled to.
        plan: Input channels.
        file: Weights as timm publishes them; `None` leaves the library's random start.
        device: `meta` for shapes alone.

    Raises:
        PlanError: If the model can't take the image size or the channels.
        WeightsError: If the weights do not fit.
    """
    if file is None:
        model = create_bare(choice, preprocessing.image_size, device)
    else:
        model = _create_with_weights(choice, preprocessing.image_size, file)
    convs = first_convs(choice, model)
    return wrap_timm(choice, model, adapt_input(model, preprocessing, plan, convs), convs)


def wrap_timm(
    choice: TimmChoice, model: nn.Module, preprocessing: Preprocessing, convs: Sequence[str]
) -> TimmBackbone:
    """Make a backbone of a model whose first convolution is adapted; on `meta`, check the image size.

    Args:
        choice: Model and tag.
        model: Without classifier.
        preprocessing: Mean and std are those of the model's channels.
        convs: Paths of the modules that see the image.

    Raises:
        PlanError: If the model can't take the image size.
    """
    _check_patches(model, choice, preprocessing.image_size)
    backbone = TimmBackbone(model, convs, preprocessing)
    if next(model.parameters()).is_meta:
        _check_size(backbone, choice.name, len(preprocessing.mean))
    return backbone


def create_bare(choice: TimmChoice, image_size: Size, device: str) -> nn.Module:
    """Build the architecture without classifier, its weights random (or on `meta`: none).

    Raises:
        PlanError: If the model can't take the image size.
    """
    try:
        with torch.device(device):
            return _create(choice, image_size, {"num_classes": 0})
    except (TypeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise _size_error(choice.name, image_size, error) from error


def first_convs(choice: TimmChoice, model: nn.Module) -> tuple[str, ...]:
    """Paths of the modules that see the image."""
    named = choice.config.first_conv
    if not named:
        return first_conv_paths(model)
    return (named,) if isinstance(named, str) else tuple(str(path) for path in named)


def _create(choice: TimmChoice, image_size: Size, arguments: dict[str, Any]) -> nn.Module:
    import timm

    name = f"{choice.name}.{choice.tag}" if choice.tag else choice.name
    sized: dict[str, Any] = {"img_size": image_size} if choice.config.fixed_input_size else {}
    model: nn.Module = timm.create_model(name, **arguments, **sized)
    return model


def load_classifier(choice: TimmChoice, image_size: Size, file: Path) -> tuple[Tensor, Tensor]:
    """Weight and bias of the classifier that the published weights carry; for CLIP it is the projection.

    Raises:
        PlanError: If the model has no plain linear classifier.
    """
    full = _create_full(choice, image_size, file)
    find: Any = getattr(full, "get_classifier", None)
    layer = None if find is None else find()
    if not isinstance(layer, nn.Linear):
        raise PlanError(
            "this model has no linear layer on its pooled features",
            where="backbone.name",
            found=f"{choice.name}: {type(layer).__name__}",
            allowed="a model with one, such as a ViT or a ConvNeXt",
        )
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return layer.weight.detach(), bias.detach()


def _create_with_weights(choice: TimmChoice, image_size: Size, file: Path) -> nn.Module:
    """Load with the classifier still on, so that timm checks every key, and take it off afterwards."""
    model = _create_full(choice, image_size, file)
    reset: Any = getattr(model, "reset_classifier", None)
    if reset is not None:
        reset(0)
    expected = set(create_bare(choice, image_size, "meta").state_dict())
    if expected != set(model.state_dict()):
        differing = sorted(expected ^ set(model.state_dict()))
        raise _misfit(choice, file, f"keys without weights: {', '.join(differing[:8])}")
    return model


def _create_full(choice: TimmChoice, image_size: Size, file: Path) -> nn.Module:
    """Let timm read the file, which it does with `weights_only=True`."""
    numpy = file.suffix == ".npz"
    if not numpy:
        check_file(file)
    create_bare(choice, image_size, "meta")  # what is wrong with the size is said before the file is blamed
    overlay = {"file": str(file), "custom_load": numpy}
    try:
        model = _create(choice, image_size, {"pretrained": True, "pretrained_cfg_overlay": overlay})
    # A damaged file can make timm and the readers below it raise nearly anything.
    except Exception as error:
        raise _misfit(choice, file, failure(error, lines=8)) from error
    if unfit := unfit_values(model, model.state_dict()):
        raise values_error(unfit, str(file))
    return model


def _check_patches(model: nn.Module, choice: TimmChoice, image_size: Size) -> None:
    """A patch embedding drops the pixels that fill no patch, without a word.

    Some weights were trained so (SigLIP's 384 pixels in patches of 14): their own size is allowed.
    """
    from timm.layers.patch_embed import PatchEmbed

    embed = getattr(model, "patch_embed", None)
    patch = max(embed.patch_size) if isinstance(embed, PatchEmbed) else 1
    if any(side % patch for side in image_size) and image_size != timm_preprocessing(choice).image_size:
        raise patch_error(choice.name, image_size, patch)


def _check_size(backbone: TimmBackbone, name: str, channels: int) -> None:
    """Send shapes through the model, which costs no arithmetic on `meta`."""
    size = backbone.preprocessing.image_size
    images = torch.empty(2, channels, *size, device="meta")
    try:
        with torch.no_grad():
            features = backbone.eval()(images)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise _size_error(name, size, error) from error
    finally:
        backbone.train()
    if features.ndim != 2:
        raise PlanError(
            "this timm model gives no pooled features",
            where="backbone.name",
            found=f"{name}: an output of {features.ndim} dimensions",
            allowed="a model for image classification",
        )
    backbone.num_features = features.shape[1]


def _width(model: nn.Module) -> int:
    width: Any = getattr(model, "head_hidden_size", None) or getattr(model, "num_features", 0)
    return int(width)


def _level_sources(model: nn.Module) -> list[LevelSource]:
    """The last output of each stride from 4 on."""
    info: Any = getattr(model, "feature_info", None)
    if not hasattr(model, "forward_intermediates") or not isinstance(info, list):
        return []
    found: dict[int, LevelSource] = {}
    for index, entry in enumerate(info):
        stride = int(entry["reduction"])
        if stride >= FINEST_STRIDE:
            level = FeatureLevel(str(entry["module"]), int(entry["num_chs"]), stride)
            found[stride] = LevelSource(index, level)
    return [found[stride] for stride in sorted(found)]


def _size_error(name: str, image_size: Size, error: Exception) -> PlanError:
    text = str(error).strip().splitlines()
    return PlanError(
        f"{name} can't take images of {show_size(image_size)} pixels",
        where="data.image_size",
        found=f"{type(error).__name__}: {text[0] if text else ''}"[:300],
        allowed="leave data.image_size out for the size that the weights were trained with, or take a "
        "multiple of the model's patch or window",
    )


def _misfit(choice: TimmChoice, file: Path, found: str) -> WeightsError:
    return WeightsError(
        f"the weights do not fit {choice.name}",
        where=str(file),
        found=found.strip()[:800],
        hint="delete the file and fetch it again with `transferflow weights fetch SPEC`",
    )
