"""Dense classifiers on a feature map: DeepLabV3's, FCN's, and what makes them hold at small batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

WIDE_RATES = (12, 24, 36)
NARROW_RATES = (6, 12, 18)


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that always uses the statistics it came with; scale and shift train.

    For maps of one pixel: with a batch of 4 the statistics of 4 values are so noisy that a model whose loss
    looks fine falls apart in evaluation. Same keys as `BatchNorm2d`, so that published weights fit; without
    them it starts as the identity.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Map B x C x H x W to the same shape; the same in training and evaluation."""
        return F.batch_norm(
            features, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def build_deeplab_head(channels: int, num_classes: int, output_stride: int) -> nn.Sequential:
    """Atrous spatial pyramid pooling and classifier (arXiv:1706.05587), as torchvision builds them.

    Args:
        channels: Channels of the feature map.
        num_classes: Classes.
        output_stride: Stride of the feature map; at 16 the atrous rates are halved, as in the paper.
    """
    rates = WIDE_RATES if output_stride <= 8 else NARROW_RATES
    head: nn.Sequential = DeepLabHead(channels, num_classes, rates)
    return head


def build_fcn_head(channels: int, num_classes: int) -> nn.Sequential:
    """One convolution and a classifier (arXiv:1411.4038), as torchvision builds them."""
    head: nn.Sequential = FCNHead(channels, num_classes)
    return head


def apply_fixed_pooling_statistics(head: nn.Sequential) -> None:
    """Replace the batch norm of DeepLabV3's pooling branch; weights and statistics are kept."""
    pooling = head.get_submodule("0.convs.4")
    old = pooling.get_submodule("2")
    if not isinstance(pooling, nn.Sequential) or not isinstance(old, nn.BatchNorm2d):
        raise TypeError(f"not a DeepLabV3 head: {type(pooling)}, {type(old)}")
    new = FixedBatchNorm2d(old.num_features, eps=old.eps, device=old.weight.device)
    new.load_state_dict(old.state_dict())
    pooling[2] = new


def apply_dropout(head: nn.Module, probability: float) -> None:
    """Set every dropout of a head."""
    for module in head.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def apply_new_classes(head: nn.Sequential, num_classes: int) -> None:
    """Replace the last convolution; everything before it keeps its weights."""
    old = head[-1]
    if not isinstance(old, nn.Conv2d):
        raise TypeError(type(old))
    head[-1] = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)


def apply_known_classes(head: nn.Sequential, rows: Sequence[int]) -> None:
    """Keep some outputs of the last convolution, in this order."""
    old = head[-1]
    if not isinstance(old, nn.Conv2d):
        raise TypeError(type(old))
    new = nn.Conv2d(old.in_channels, len(rows), kernel_size=1, device=old.weight.device)
    new.load_state_dict({name: value[list(rows)] for name, value in old.state_dict().items()})
    head[-1] = new
