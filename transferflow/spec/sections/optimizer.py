"""The `optimizer` and `schedule` sections: how fast each layer group learns."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import (
    ChosenByKey,
    Flag,
    Fraction,
    NonNegative,
    Number,
    Positive,
    Section,
    Text,
)
from transferflow.spec.wording import Words


def _positive_rate(value: float) -> float:
    if value == 0:
        raise ValueError("a rate of 0 still updates batch norm: to keep layers as they are, use `freeze`")
    if value < 0:
        raise ValueError(f"a learning rate must be above 0, found {value:g}")
    return value


Rate = Annotated[
    Number,
    Field(json_schema_extra={"exclusiveMinimum": 0}),
    AfterValidator(_positive_rate),  # rather than `gt=0`: its message names `freeze`
    Words("a number, above 0"),
]


class _Optimizer(Section):
    lr: Rate = 1e-3
    """Learning rate of the head, and of every group that no rule changes."""
    layer_lr: Annotated[dict[Text, Rate], Field(max_length=MAX_NAMES)] = {}
    """Absolute learning rate of layer groups, by name or pattern; wins over every other rule."""
    layer_decay: Annotated[Positive, Field(le=1)] | None = None
    """Layer-wise decay: lr * layer_decay^(distance from the head)."""
    backbone_lr_scale: Positive | None = None
    """Multiplies the learning rate of every backbone group."""

    @model_validator(mode="after")
    def _one_rule_for_the_backbone(self) -> Self:
        if self.layer_decay is not None and self.backbone_lr_scale is not None:
            raise ValueError("layer_decay and backbone_lr_scale both set the backbone's rates: keep one")
        return self


class AdamW(_Optimizer):
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: NonNegative = 0.05
    """Decoupled weight decay; never applied to norms and biases."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the two moment estimates."""


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    lr: Rate = 1e-2
    """Learning rate of the head, and of every group that no rule changes."""
    weight_decay: NonNegative = 1e-4
    """L2 penalty; never applied to norms and biases."""
    momentum: Annotated[Fraction, Field(lt=1)] = 0.9
    """Momentum."""
    nesterov: Flag = True
    """Nesterov's form of momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self


Optimizer = Annotated[
    Annotated[AdamW, Tag("adamw")] | Annotated[Sgd, Tag("sgd")], Discriminator(ChosenByKey("kind", "adamw"))
]


class Cosine(Section):
    """Half a cosine from the full rate to `min_lr_scale` times it, after a linear warm-up."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warm-up from zero."""
    min_lr_scale: Fraction = 0.0
    """Share of the full rate that is left at the end."""


class Constant(Section):
    """The full rate throughout, after a linear warm-up."""

    kind: Literal["constant"]
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warm-up from zero."""


Schedule = Annotated[
    Annotated[Cosine, Tag("cosine")] | Annotated[Constant, Tag("constant")],
    Discriminator(ChosenByKey("kind", "cosine")),
]
