"""One epoch of optimizer steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.errors import TrainingError
from transferflow.training.device import Arithmetic
from transferflow.training.job import Losses
from transferflow.training.loss_log import LossLog
from transferflow.training.schedule import apply_scale

READ_EVERY_ON_GPU = 16
_ONE_VALUE = "Expected more than 1 value per channel when training"
StepWatch = Callable[[int, float, float], None]


class Stepper:
    """Model, optimizer and what goes with them; takes optimizer steps, knows nothing of epochs' meaning.

    Attributes:
        model: On the device, in train mode with the freeze applied.
        optimizer: Over all parameters.
        scaler: Loss scaler; does nothing unless the precision is fp16.
        ema: Moving average of the model (timm's `ModelEmaV3`), or `None`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: Any | None,  # noqa: ANN401  timm has no types
        losses: Callable[[nn.Module, Batch], Losses],
        arithmetic: Arithmetic,
        device: torch.device,
        gradient_clip: float | None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.ema = ema
        self.scaler = torch.amp.GradScaler(device.type, enabled=arithmetic.precision == "fp16")
        self._losses = losses
        self._arithmetic = arithmetic
        self._device = device
        self._gradient_clip = gradient_clip

    def run_epoch(
        self,
        epoch: int,
        batches: Iterable[Batch],
        first_step: int,
        scale: Callable[[int], float],
        watch: StepWatch,
    ) -> LossLog:
        """Take a step per batch.

        Args:
            epoch: Number of the epoch, for messages.
            batches: Its batches.
            first_step: Steps of all epochs before it.
            scale: Step in the epoch to what every group's rate is multiplied by.
            watch: Is told step, loss and the head's learning rate.

        Raises:
            TrainingError: If a loss is not finite, memory runs out, or batch norm has one value per channel.
        """
        log = LossLog(epoch, 1 if self._device.type == "cpu" else READ_EVERY_ON_GPU)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        head = self.optimizer.param_groups[-1]
        with _errors_in_words():
            for step, batch in enumerate(batches):
                apply_scale(self.optimizer.param_groups, scale(step))
                losses = self._step(batch, parameters)
                if self.ema is not None:
                    self.ema.update(self.model, step=first_step + step + 1)
                for number, loss in log.add(step, len(batch), losses):
                    watch(number, loss, head["lr"])
        for number, loss in log.read():
            watch(number, loss, head["lr"])
        return log

    def _step(self, batch: Batch, parameters: list[nn.Parameter]) -> Losses:
        # Cached features are B x F: only images have a channel layout.
        is_image = batch.images.ndim == 4
        layout = self._arithmetic.memory_format if is_image else torch.contiguous_format
        batch = batch.to(self._device, layout)
        dtype = self._arithmetic.autocast_dtype
        with torch.autocast(self._device.type, dtype) if dtype else nullcontext():
            losses = self._losses(self.model, batch)
            total: Tensor = torch.stack([loss.float() for loss in losses.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(total))
        if self._gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, self._gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Turn what torch raises for a setting that does not fit into an error that names the setting."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the GPU's memory is full",
            found=str(error).split(". ")[0],
            hint="lower training.batch_size or data.image_size, freeze more layers, or use precision bf16",
        ) from None
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        raise TrainingError(
            "batch norm can't train on one value per channel",
            where="training.batch_size",
            found=str(error).removeprefix(_ONE_VALUE).lstrip(", "),
            allowed="2 or more images in a batch, or feature maps of more than one pixel",
            hint="raise training.batch_size or data.image_size, or keep the running statistics as they are "
            "with freeze.batch_norm: all_frozen",
        ) from None
