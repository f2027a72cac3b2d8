"""Losses, gradients and weights that are no finite numbers: how they are found, and what is said."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from torch import nn

from transferflow.data.loading.batch import Batch
from transferflow.errors import TrainingError
from transferflow.training.loop.stepper import Gradients
from transferflow.training.ranks import Ranks

_NAMED = 16
_HINT = (
    "lower optimizer.lr, raise schedule.warmup_epochs, set training.gradient_clip: 1.0, or use "
    "training.precision: fp32"
)


@dataclass(frozen=True)
class BadStep:
    """A step of which a loss or the gradient is no finite number; its weights have not moved."""

    epoch: int
    step: int
    found: Gradients
    images: str
    """See `describe_images`."""

    @property
    def where(self) -> str:
        """Epoch and step, as a person counts."""
        return f"epoch {self.epoch + 1}, step {self.step + 1}"

    @property
    def worst(self) -> tuple[str, str]:
        """What is not finite, and its value: the first such loss, else the gradient."""
        for name, value in self.found.losses.items():
            if not math.isfinite(value):
                return f"the loss `{name}`", str(value)
        return "the gradient", f"norm {self.found.norm}"


def has_finite_weights(model: nn.Module) -> bool:
    """Whether the trained parameters are finite numbers."""
    return all(bool(p.isfinite().all()) for p in model.parameters() if p.requires_grad)


def not_finite(bad: BadStep) -> TrainingError:
    """The error that stops the training."""
    name, value = bad.worst
    return TrainingError(
        f"{name} is not finite",
        where=bad.where,
        found=f"{value}; {bad.images}",
        allowed="a finite number",
        hint=f"{_HINT}; look at these images and their labels. What was trained before this step is kept: "
        "with `--set training.on_nan=skip` the run goes on from there without it",
    )


def too_many_left_out(bad: BadStep, in_a_row: int) -> TrainingError:
    """The error for steps that were left out one after the other."""
    name, value = bad.worst
    return TrainingError(
        f"{name} was not finite in {in_a_row} steps in a row: that is no matter of a few images",
        where=bad.where,
        found=f"{value}; {bad.images}",
        hint=_HINT,
    )


def weights_not_finite(place: str) -> TrainingError:
    """The error for weights that a step was too long for."""
    return TrainingError(
        "the weights are not finite", where=f"after {place}", found="nan or inf in a parameter", hint=_HINT
    )


def describe_left_out(bad: BadStep) -> str:
    """That a step was left out, and which images were in it."""
    name, value = bad.worst
    return f"{bad.where} is left out: {name} is not finite ({value}); {bad.images}"


def describe_images(batch: Batch, ranks: Ranks) -> str:
    """Names of the images with pixels that are no numbers; of all images, where there are none.

    Args:
        batch: This device's share of the batch.
        ranks: Those that have the others; rank 0 can say the names of all.
    """
    pairs = zip(batch.ids, batch.images, strict=True)
    own = {"bad": [name for name, pixels in pairs if not pixels.isfinite().all()], "all": batch.ids}
    found = [json.loads(part) for part in ranks.gather(json.dumps(own).encode())]
    bad, everything = (list(dict.fromkeys(n for part in found for n in part[which])) for which in own)
    names = bad or everything
    title = "images with pixels that are not finite" if bad else "images of the batch"
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return f"{title}: {', '.join(names[:_NAMED])}{more}"
