"""The whole segmentation model, with the names of torchvision's."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from transferflow.models.layers import Backbone
from transferflow.models.neck import LevelSource, resample_level
from transferflow.models.segmentation.lite import LiteDecoder


class Segmenter(nn.Module):
    """Backbone, classifier, and an auxiliary classifier while training.

    Args:
        backbone: Maps images to the feature maps `out` and, with an auxiliary classifier, `aux`.
        classifier: Maps `out` to logits per class.
        aux_classifier: Maps `aux` to logits per class.
    """

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B x C x H x W) to logits (B x classes x H x W): `out`, in training also `aux`."""
        features: dict[str, Tensor] = self.backbone(images)
        size = images.shape[-2:]
        logits = {"out": _enlarge(self.classifier(features["out"]), size)}
        if self.aux_classifier is not None and self.training:
            logits["aux"] = _enlarge(self.aux_classifier(features["aux"]), size)
        return logits


def _enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(logits, size=list(size), mode="bilinear", align_corners=False)


class LevelPick(nn.Module):
    """A backbone that gives two of its levels by name.

    Args:
        body: The backbone.
        out: Index of the level that the classifier sees.
        aux: Index of the level that the auxiliary classifier sees.
    """

    def __init__(self, body: Backbone, out: int, aux: int) -> None:
        super().__init__()
        self.body = body
        self.out, self.aux = out, aux

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B x C x H x W) to `out` and `aux`."""
        levels = self.body.forward_levels(images)
        return {"out": levels[self.out], "aux": levels[self.aux]}


class LiteBody(nn.Module):
    """A backbone with the light decoder on its levels.

    Args:
        body: The backbone.
        sources: Where the decoder's levels come from, from fine to coarse.
        aux: Index of the level that the auxiliary classifier sees.
        width: Channels of the decoded map.
    """

    def __init__(self, body: Backbone, sources: Sequence[LevelSource], aux: int, width: int) -> None:
        super().__init__()
        self.body = body
        self.decoder = LiteDecoder([body.levels[source.level].channels for source in sources], width)
        self.sources, self.aux = tuple(sources), aux

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (B x C x H x W) to `out` and `aux`."""
        levels = self.body.forward_levels(images)
        size = images.shape[-2:]
        chosen = [resample_level(levels[source.level], source, size) for source in self.sources]
        return {"out": self.decoder(chosen), "aux": levels[self.aux]}
