"""Images from JSON, and answers to it."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any, assert_never

from PIL import Image

from transferflow.inference.sources import Failure
from transferflow.serving.batcher import Answer
from transferflow.tasks.answers import BoxPrediction, LabelPrediction, MaskPrediction, NumberPrediction


def from_base64(text: str) -> bytes:
    """Content of an image file; of a data URI, as browsers make them, it stands after the comma.

    Raises:
        ValueError: If it is no base64.
    """
    return base64.b64decode(text.rpartition(",")[2], validate=True)


def answer_json(answer: Answer) -> dict[str, Any]:
    """One answer as plain JSON; a mask is a PNG of class numbers, in base64."""
    match answer:
        case Failure(reason=reason):
            return {"error": reason}
        case LabelPrediction():
            scores = {name: round(value, 6) for name, value in answer.probabilities.items()}
            plausible = {} if answer.plausible is None else {"plausible": list(answer.plausible)}
            return {
                "labels": list(answer.labels),
                "score": round(answer.score, 6),
                "probabilities": scores,
                **plausible,
            }
        case BoxPrediction():
            boxes = [
                {"label": label, "score": round(float(score), 6), "box": [round(float(x), 2) for x in box]}
                for label, score, box in zip(answer.labels, answer.scores, answer.boxes, strict=True)
            ]
            return {"width": answer.size[0], "height": answer.size[1], "boxes": boxes}
        case MaskPrediction():
            return {
                "classes": list(answer.classes),
                "shares": {name: round(share, 6) for name, share in answer.shares.items()},
                "mask_png": _png(answer),
            }
        case NumberPrediction():
            return {"value": answer.value}
        case _:
            assert_never(answer)


def _png(answer: MaskPrediction) -> str:
    content = BytesIO()
    Image.fromarray(answer.mask).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
