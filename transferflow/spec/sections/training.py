"""The `training` section: the loop's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from transferflow.spec.sections.base import (
    ChosenByForm,
    ClassName,
    Count,
    Fraction,
    Natural,
    Positive,
    Section,
    Seed,
    Text,
)


class EarlyStopping(Section):
    """Stop when the validation metric no longer gets better."""

    metric: Text | None = None
    """Validation metric to watch, which also chooses the epoch that is kept; left out: the gate's metric."""
    patience: Count = 5
    """Epochs without improvement that end a freeze phase, and in the last one the training."""


class Checkpoint(Section):
    """What a training that was cut off goes on from; never part of a stage's key."""

    every_minutes: Positive | None = 10.0
    """Minutes between checkpoints within an epoch; `null`: only the end of an epoch is kept."""
    keep: Annotated[Count, Field(le=100)] = 2
    """Checkpoints that are kept: a damaged one costs what was trained since the one before it."""


class ActivationViews(Section):
    """Compute a number of random variations of each image once, and train on them in turn."""

    views: Annotated[Count, Field(le=1000)]
    """Variations of each image; epoch n sees the one of epoch n modulo this number."""


class Training(Section):
    """The training loop."""

    epochs: Natural = 20
    """Passes over the training images; 0 measures, gates and registers a model as it starts."""
    batch_size: Count = 32
    """Images per optimizer step."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; `auto`: bf16 where that takes less time, by a rule or, before a long
    training on a CPU, by a trial of both; else fp32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; `auto`: CUDA, else Apple's GPU, where there is one; never part of a stage's key."""
    devices: Annotated[Count, Field(le=1024)] | None = None
    """Devices of each machine that share each batch, with a process for each; left out: 1, and
    `deployment.gpus` for a run of a deployment; never part of a stage's key."""
    sync_batch_norm: bool = False
    """Batch norm that trains sees the images of all devices together; on CUDA."""
    max_restarts: Annotated[Natural, Field(le=100)] = 3
    """How often the processes of several devices, or of a deployment's run, start again from the last
    checkpoint after a crash; in no key."""
    workers: Annotated[
        Annotated[Literal["auto"], Tag("auto")] | Annotated[Natural, Tag("number")],
        Discriminator(ChosenByForm("text", "auto", "number")),
    ] = "auto"
    """Processes that load images, for each device; never part of a stage's key."""
    checkpoint: Checkpoint = Checkpoint()
    """Checkpoints, besides one at the end of each epoch."""
    early_stopping: EarlyStopping | None = None
    """Stop early."""
    ema: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, which is then what is kept."""
    activation_cache: Annotated[
        Annotated[Literal["auto", "off"], Tag("rule")] | Annotated[ActivationViews, Tag("views")],
        Discriminator(ChosenByForm("mapping", "views", "rule")),
    ] = "auto"
    """What frozen layers compute of an image is computed once and kept; `auto`: where it does not change the
    result; with `views: 4` also where images are varied at random, of which each then has 4 variations."""
    class_weights: (
        Annotated[
            Annotated[Literal["balanced"], Tag("rule")]
            | Annotated[dict[ClassName, Positive], Tag("weights")],
            Discriminator(ChosenByForm("mapping", "weights", "rule")),
        ]
        | None
    ) = None
    """Weight of each class in the loss, 1 for those that are not named; `balanced`: inverse frequency; of
    several labels: weight of the images that have the class, over those that have it not."""
    label_smoothing: Annotated[Fraction, Field(lt=1)] = 0.0
    """Share of the target that is spread over all classes (classification)."""
    gradient_clip: Positive | None = None
    """Largest norm of the gradient."""
    on_nan: Literal["stop", "skip"] = "stop"
    """A loss or gradient that is not finite: `stop` there, or `skip` the step and count it; in no key."""
    seed: Seed = 0
    """Seed of initialisation, order and augmentation."""
