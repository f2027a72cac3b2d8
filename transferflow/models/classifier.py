"""Image classification: a backbone and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from transferflow.models.heads import build_head
from transferflow.models.layers import Backbone, Block, LayerGroup, Preprocessing

HeadInit = Literal["default", "zero", "prototypes", "text"]


class ImageClassifier(nn.Module):
    """Maps images to logits.

    Attributes:
        backbone: Feature extractor.
        head: Dropout, hidden layers and the last linear layer.
        groups: The backbone's layer groups and one more, `head`.
        preprocessing: What the backbone's weights were trained with.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        dropout: float = 0.0,
        hidden: Sequence[int] = (),
        init: HeadInit = "default",
    ) -> None:
        """Build the head on the backbone.

        Args:
            backbone: Feature extractor.
            num_classes: Outputs.
            dropout: Dropout before the last layer, 0..1.
            hidden: Widths of hidden layers.
            init: Start of the last layer. `prototypes` and `text` start like `default` and are set later
                with `heads.set_prototypes` and `clip.set_text_embeddings`, which need data or prompts.
        """
        super().__init__()
        self.backbone = backbone
        self.head = build_head(
            backbone.num_features, num_classes, dropout=dropout, hidden=hidden, zero=init == "zero"
        )
        names = tuple(f"head.{name}" for name, _ in self.head.named_parameters())
        head = LayerGroup("head", "head", (Block("head", names),), ("head",))
        self.groups: tuple[LayerGroup, ...] = (
            *(group.prefixed("backbone") for group in backbone.groups),
            head,
        )
        self.preprocessing: Preprocessing = backbone.preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B x num_classes."""
        logits: Tensor = self.head(self.backbone(images))
        return logits
