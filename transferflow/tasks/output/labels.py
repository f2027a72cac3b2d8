"""Labels of whole images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transferflow.tasks.answers import LabelPrediction, Prediction
from transferflow.tasks.base import ImagePredictions, OutputRow
from transferflow.tasks.decisions import DECIDED, PLAUSIBLE


class LabelOutput:
    """One label per image, or several.

    Args:
        several: Whether an image may have several labels, or none.
    """

    columns = ("image",)
    placed = None

    def __init__(self, *, several: bool) -> None:
        self._several = several

    def answers(self, found: ImagePredictions) -> list[Prediction]:
        """Labels, the best one's probability, and those of all classes."""
        return [*self._labels(found)]

    def rows(self, found: ImagePredictions) -> list[OutputRow]:
        """One row per image: its labels, the best one's probability, and those of all classes."""
        return [
            {
                "image": one.image,
                "labels": list(one.labels),
                "score": one.score,
                "probabilities": dict(one.probabilities),
                **({} if one.plausible is None else {"plausible": list(one.plausible)}),
            }
            for one in self._labels(found)
        ]

    def _labels(self, found: ImagePredictions) -> Iterator[LabelPrediction]:
        for row in found.table.to_pylist():
            scores: dict[str, float] = dict(zip(found.classes, row["probabilities"], strict=True))
            best = max(scores, key=lambda name: scores[name])
            labels = [name for name, score in scores.items() if score >= 0.5] if self._several else [best]
            if DECIDED in row:
                labels = _named(found.classes, row[DECIDED])
            plausible = tuple(_named(found.classes, row[PLAUSIBLE])) if PLAUSIBLE in row else None
            score = scores[best] if self._several else scores[labels[0]]
            yield LabelPrediction(row["id"], tuple(labels), score, scores, plausible)

    def cells(self, row: OutputRow, top: int) -> tuple[str, str, str]:
        """Labels, the best one's probability, and the next classes."""
        ranked = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])[1:top]
        others = ", ".join(f"{name} {score:.3f}" for name, score in ranked)
        if "plausible" in row:
            others = "; ".join(filter(None, [f"plausible: {', '.join(row['plausible'])}", others]))
        return ", ".join(row["labels"]) or "(none)", f"{row['score']:.3f}", others

    def note(self, min_score: float) -> str:
        """Nothing: probabilities speak for themselves."""
        return ""


def _named(classes: Sequence[str], flags: Sequence[bool]) -> list[str]:
    return [name for name, flag in zip(classes, flags, strict=True) if flag]
