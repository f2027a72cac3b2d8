"""Tells the figures of a training to a spool: all that the training's own thread does for who watches."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from transferflow.logs import get_logger
from transferflow.training.tracking.helper import Helper
from transferflow.training.tracking.spool import Family, Point, Spool

logger = get_logger("training")
MOST_STEPS = 1000
"""Points of single steps that a training tells, whatever its length: no screen shows more."""
PATIENCE_SECONDS = 60.0
"""A training that ends sooner is shipped as a whole: nobody has begun to watch it.

Starting the process that ships takes some four seconds of CPU.
"""


class TrackingHook:
    """Appends a point per epoch, and of the steps each n-th one; a resumed training tells none again.

    Args:
        spool: Where they go.
        rates: What each layer group trains with, over the rate of which the loop tells.
        helper: Ships them.
        patience: Seconds of training before it starts.

    Raises:
        OSError: If the spool can't be read or written.
    """

    def __init__(self, spool: Spool, rates: Mapping[str, float], helper: Helper, patience: float) -> None:
        self._spool, self._rates, self._helper, self._patience = spool, rates, helper, patience
        self._told: dict[Family, set[int]] = spool.begin()
        self._steps = self._every = 1
        self._begun = self._since = time.perf_counter()
        self._taken = 0
        self._waits = self._works = True

    def on_start(self, epochs: int, steps: int, first_epoch: int) -> None:
        self._steps, self._every = steps, -(-epochs * steps // MOST_STEPS)
        self._begun = self._since = time.perf_counter()

    def on_step(self, epoch: int, step: int, loss: float, lr: float) -> None:
        self._taken += 1
        number = epoch * self._steps + step + 1
        now = time.perf_counter()
        if number % self._every == 0:
            speed = self._taken / max(now - self._since, 1e-9)
            self._tell("step", number, {"train_loss": loss, "lr": lr, "steps_per_second": speed})
            self._since, self._taken = now, 0
        if self._waits and now - self._begun >= self._patience:
            self._waits = False
            self._helper.start()
        self._helper.tell()

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        rates = {f"lr.{group}": share * values["lr"] for group, share in self._rates.items()}
        self._tell("epoch", epoch, {**values, **rates})
        self._since, self._taken = time.perf_counter(), 0  # validation is no step

    def on_end(self) -> None:
        """Nothing: whoever began the training ends it."""

    def complete(self, history: Sequence[Mapping[str, float]]) -> None:
        """Tell the epochs that a kill has kept from being told, just after they were saved."""
        for epoch, row in enumerate(history):
            self._tell("epoch", epoch, row)

    def _tell(self, family: Family, step: int, values: Mapping[str, float]) -> None:
        if not self._works or step in self._told[family]:
            return
        self._told[family].add(step)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        try:
            self._spool.append(Point(family, step, int(time.time() * 1000), finite))
        except OSError as error:
            self._works = False
            logger.warning("tracking: no more points are kept (%s); the history has all epochs", error)
