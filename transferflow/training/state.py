"""How far a training is, as plain data: what a checkpoint holds beside the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from transferflow.training.job import PhaseProof


@dataclass(frozen=True)
class EpochState:
    """The epoch under way.

    Attributes:
        steps: Steps that were taken in it; the next batch has this number.
        images: Images of these steps.
        sums: Each named loss times the images that it is a mean over, summed up.
        seconds: Time that the steps took.
        skipped: Steps among them that were left out, as a loss or the gradient was not finite.
        in_a_row: How many of these came last, one after the other.
    """

    steps: int = 0
    images: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: int = 0
    in_a_row: int = 0

    def plus(self, images: int, losses: Mapping[str, float], seconds: float) -> EpochState:
        """The state after one more step.

        Args:
            images: Images of its batch.
            losses: Its named losses, means over these images.
            seconds: How long it took.
        """
        sums = {name: self.sums.get(name, 0.0) + value * images for name, value in losses.items()}
        return EpochState(self.steps + 1, self.images + images, sums, self.seconds + seconds, self.skipped)

    def skipping(self, seconds: float) -> EpochState:
        """The state after a step that was left out."""
        return replace(
            self,
            steps=self.steps + 1,
            seconds=self.seconds + seconds,
            skipped=self.skipped + 1,
            in_a_row=self.in_a_row + 1,
        )

    def following(self) -> EpochState:
        """The start of the next epoch; steps that were left out in a row may go on across its border."""
        return EpochState(in_a_row=self.in_a_row)

    def row(self, epoch: int, lr: float, metrics: Mapping[str, float], seconds: float) -> dict[str, float]:
        """The history's row of an epoch whose steps are taken.

        Args:
            epoch: From 0.
            lr: The head's rate.
            metrics: Of the validation images.
            seconds: How long these took.
        """
        rates = {"lr": lr, "images_per_second": self.images / max(self.seconds, 1e-9)}
        left_out = {"skipped_steps": float(self.skipped)} if self.skipped else {}
        timing = {"seconds": self.seconds + seconds}
        return {"epoch": float(epoch), **self.means(), **rates, **metrics, **left_out, **timing}

    def means(self) -> dict[str, float]:
        """`train_loss` (the sum) and `train_<name>` of each loss, averaged over images; of no image, none."""
        if self.images == 0:
            return {}
        named = {name: value / self.images for name, value in self.sums.items()}
        total = {"train_loss": sum(named.values())}
        return total | {f"train_{name}": value for name, value in named.items() if name != "loss"}


@dataclass(frozen=True)
class LoopState:
    """How far a training is.

    Attributes:
        epochs: Finished epochs.
        running: The epoch under way.
        history: A row per finished epoch.
        proofs: Freeze proofs of the finished phases.
        frozen_before: Digest of each frozen tensor at the start of the phase under way.
        best_epoch: Epoch of the best weights; -1 before there is one.
        best_sha256: Hash of their file.
        micro_batch: Most images that are computed at a time; `None`: a whole batch.
        precisions: Arithmetic in which it was computed, in order: it may go on on another device.
    """

    epochs: int = 0
    running: EpochState = EpochState()
    history: tuple[Mapping[str, float], ...] = ()
    proofs: tuple[PhaseProof, ...] = ()
    frozen_before: Mapping[str, str] = field(default_factory=dict)
    best_epoch: int = -1
    best_sha256: str = ""
    micro_batch: int | None = None
    precisions: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Finished epochs, and steps in the one under way."""
        return self.epochs, self.running.steps

    def going_on_in(self, precision: str) -> LoopState:
        """The state of a training that computes in this arithmetic from now on."""
        is_same = self.precisions[-1:] == (precision,)
        return self if is_same else replace(self, precisions=(*self.precisions, precision))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; floats come back with the same bits."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoopState:
        """Rebuild from `to_json`.

        Raises:
            TypeError: If it has other keys.
            KeyError: If it lacks one.
        """
        proofs = (PhaseProof(**{**proof, "groups": tuple(proof["groups"])}) for proof in data["proofs"])
        plain = {**data, "history": tuple(data["history"]), "running": EpochState(**data["running"])}
        return cls(**{**plain, "proofs": tuple(proofs), "precisions": tuple(data.get("precisions", ()))})
