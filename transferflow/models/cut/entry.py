"""What a model computes of images alone, before it looks at targets."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from transferflow.models.detection.inputs import PreparedInput


def compute_features(model: nn.Module, images: Tensor) -> object:
    """Run the part of a model that sees nothing but images: of a detector backbone and neck, else all of it.

    Args:
        model: A classifier, a segmenter or a detector of this project.
        images: B x C x H x W, normalised.

    Returns:
        Tensors, nested as the model nests them.
    """
    if isinstance(model, GeneralizedRCNN | RetinaNet | FCOS) and isinstance(model.transform, PreparedInput):
        features: object = model.backbone(model.transform.pad(images))
        return features
    return model(images)
