"""A number for each image."""

from __future__ import annotations

from transferflow.tasks.answers import NumberPrediction, Prediction
from transferflow.tasks.base import ImagePredictions, OutputRow


class NumberOutput:
    """One number per image, in the unit of the data."""

    columns = ("image", "value")
    placed = None

    def answers(self, found: ImagePredictions) -> list[Prediction]:
        """The number of each image."""
        return [NumberPrediction(row["id"], row["value"]) for row in found.table.to_pylist()]

    def rows(self, found: ImagePredictions) -> list[OutputRow]:
        """One row per image."""
        return [{"image": row["id"], "value": row["value"]} for row in found.table.to_pylist()]

    def cells(self, row: OutputRow, top: int) -> tuple[str, str, str]:
        """The number alone."""
        return f"{row['value']:.6g}", "", ""

    def note(self, min_score: float) -> str:
        """Nothing: the number is the answer."""
        return ""
