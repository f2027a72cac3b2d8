"""What tasks share whose answer is about the image as a whole: how the model starts, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from transferflow.models.backbones.build import build_backbone
from transferflow.models.classifier import ImageClassifier
from transferflow.models.clip import ZeroShotClassifier
from transferflow.models.layers import Backbone
from transferflow.spec.sections.backbone import Backbone as BackboneSection
from transferflow.spec.sections.data import Data
from transferflow.tasks.base import ModelParts, PredictionInputs


def build_on_backbone(
    backbone: BackboneSection,
    data: Data,
    put_head: Callable[[Backbone], ImageClassifier | ZeroShotClassifier],
    *,
    seed: int,
    pretrained: bool,
    device: str,
) -> ModelParts:
    """Build the backbone, and a head on it whose start does not depend on the backbone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features = build_backbone(
            backbone,
            channels=data.channels,
            image_size=data.image_size,
            pretrained=pretrained,
            device=device,
        )
        torch.manual_seed(seed)
        with torch.device(device):
            model = put_head(features)
    return ModelParts(model, model.groups, model.preprocessing)


def predict_images(model: nn.Module, inputs: PredictionInputs, outputs: int) -> tuple[list[str], Tensor]:
    """Ids of the images, and the model's outputs for them: float32, images x `outputs`, on the CPU."""
    ids: list[str] = []
    found = [torch.zeros(0, outputs)]
    with torch.inference_mode():
        for batch in inputs.batches:
            ids.extend(batch.ids)
            found.append(inputs.ask(model, batch).float().cpu())
    return ids, torch.cat(found)
