"""Where the served model looked: a heat map of the class that it answers, over its own view of the image."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from transferflow.errors import EvaluationError
from transferflow.evaluation.attribution import compute_attribution, tint_images
from transferflow.inference.model import answer_images
from transferflow.inference.sources import Failure, NamedImage, read_image
from transferflow.models.classifier import ImageClassifier
from transferflow.models.layers import Preprocessing
from transferflow.tasks.answers import LabelPrediction
from transferflow.tasks.bundle import Bundle


@dataclass(frozen=True)
class Explanation:
    """A heat map, or why there is none.

    Attributes:
        heat_png: The model's view of the image, tinted where it looked: a PNG in base64; `None` without one.
        caption: Of which class, by which method; else the reason.
    """

    heat_png: str | None
    caption: str


def explain_image(bundle: Bundle, image: bytes) -> Explanation | Failure:
    """Explain the answer to an image; in the thread that the model answers in, since it hooks into it.

    Args:
        bundle: The model.
        image: Content of an image file.
    """
    (answer,) = answer_images(bundle, [("image", image)])
    if isinstance(answer, Failure):
        return answer
    model = bundle.model
    if not isinstance(answer, LabelPrediction) or not isinstance(model, ImageClassifier):
        return Explanation(None, f"there is no heat map for {bundle.spec.task.kind} with this head")
    likeliest = max(answer.probabilities, key=lambda name: answer.probabilities[name])
    label = answer.labels[0] if answer.labels else likeliest
    pixels = read_image(bundle.transform, NamedImage("image", image))
    if isinstance(pixels, Failure):
        return pixels
    shown = bundle.transform(pixels)[None].to(next(model.parameters()).device)
    try:
        found = compute_attribution(model, shown, [bundle.classes.index(label)])
    except EvaluationError as error:
        return Explanation(None, error.problems[0].what)
    normal = Preprocessing(mean=bundle.transform.mean, std=bundle.transform.std)
    (view,) = tint_images(shown, found.heat, normal)
    content = BytesIO()
    Image.fromarray(view).save(content, "PNG")
    rows, columns = found.grid
    caption = f"looked at for {label} ({found.method}, {columns} x {rows} cells)"
    return Explanation(base64.b64encode(content.getvalue()).decode(), caption)
