"""The `freeze` section: what trains at which epoch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from transferflow.limits import MAX_NAMES
from transferflow.spec.sections.base import Count, Positive, Section, Text


class _Freeze(Section):
    batch_norm: Literal["frozen", "train", "all_frozen"] = "frozen"
    """Running statistics of batch norm: `frozen`: kept in frozen groups; `train`: updated everywhere;
    `all_frozen`: kept in every group."""


class FreezeNone(_Freeze):
    """Full fine-tuning."""

    policy: Literal["none"]


class FreezeBackbone(_Freeze):
    """Feature extraction (linear probe): only the head, and a neck if there is one, trains."""

    policy: Literal["backbone"]


class FreezeUntil(_Freeze):
    """Everything from the stem to this group, included, is frozen."""

    policy: Literal["until"]
    until: Text
    """Last frozen layer group."""


class FreezeLayers(_Freeze):
    """Just these groups are frozen."""

    policy: Literal["layers"]
    layers: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_NAMES)]
    """Names or patterns (`blocks.*`) of the frozen layer groups."""


class Phase(Section):
    """A span of epochs with one frozen set."""

    epochs: Count
    """Length of the phase; the last one lasts until the end of training."""
    train: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_NAMES)]
    """Names or patterns of the groups that train; all others are frozen."""
    lr_scale: Positive = 1.0
    """Multiplies every learning rate in this phase."""


class FreezePhases(_Freeze):
    """Gradual unfreezing."""

    policy: Literal["phases"]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1, max_length=MAX_NAMES)]
    """Phases in order."""


Freeze = Annotated[
    FreezeNone | FreezeBackbone | FreezeUntil | FreezeLayers | FreezePhases, Field(discriminator="policy")
]
