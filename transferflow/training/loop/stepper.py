"""One optimizer step: gradients of a batch, then the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.data.loading.batch import Batch
from transferflow.errors import TrainingError
from transferflow.training.device import Arithmetic
from transferflow.training.job import Losses
from transferflow.training.loop.buffers import BufferGuard

_ONE_VALUE = "Expected more than 1 value per channel when training"


class Stepper:
    """Model, optimizer and what goes with them; takes optimizer steps, knows nothing of epochs.

    A step has two halves. `gradients` may be cut off anywhere: `discard` leaves everything as it was before
    it. `apply` must not be.

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
        self._buffers = BufferGuard(model)

    def gradients(self, batch: Batch, seed: int) -> dict[str, float]:
        """Compute the gradients of a batch.

        Args:
            batch: The batch.
            seed: Of what the model draws at random (dropout, sampled boxes).

        Returns:
            Each named loss.

        Raises:
            TrainingError: If memory runs out, or batch norm has one value per channel.
        """
        torch.manual_seed(seed)
        self.optimizer.zero_grad(set_to_none=True)
        self._buffers.keep()
        with _errors_in_words():
            losses = self._forward(batch)
            names, values = list(losses), torch.stack([loss.float() for loss in losses.values()])
            reading = _Reading(values.detach())
            torch.autograd.backward(self.scaler.scale(values.sum()))
            return dict(zip(names, reading.wait(), strict=True))

    def apply(self, number: int) -> None:
        """Move the weights along the gradients, and the moving average after them.

        Args:
            number: Of the step over all epochs, from 1: the average's decay grows with it.
        """
        if self._gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            nn.utils.clip_grad_norm_(trained, self._gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model, step=number)
        self._buffers.forget()

    def discard(self) -> None:
        """Drop a step that was not applied."""
        self.optimizer.zero_grad(set_to_none=True)
        self._buffers.put_back()

    def _forward(self, batch: Batch) -> Losses:
        # Cached features are B x F: only images have a channel layout.
        is_image = batch.images.ndim == 4
        layout = self._arithmetic.memory_format if is_image else torch.contiguous_format
        dtype = self._arithmetic.autocast_dtype
        with torch.autocast(self._device.type, dtype) if dtype else nullcontext():
            return self._losses(self.model, batch.to(self._device, layout))


class _Reading:
    """Numbers on their way to the CPU.

    On a GPU they are asked for before the backward pass and read after it was queued: nobody waits for it.
    """

    def __init__(self, values: Tensor) -> None:
        self._event: torch.Event | None = None
        self._values = values
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)
            self._event = torch.Event(device=values.device)
            self._event.record()

    def wait(self) -> list[float]:
        """The numbers."""
        if self._event is not None:
            self._event.synchronize()
        return [float(value) for value in self._values.tolist()]


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
