"""Simple models on fixed features: what a pretrained backbone is worth without fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from transferflow.evaluation.statistics.bootstrap import FloatArray

Link = Literal["softmax", "sigmoid", "identity"]
"""What leads scores to answers: one class of several, several labels at once, a number."""

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""As in M. Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021."""
PENALTIES = (1e-4, 1e-2, 1.0)
"""L2 penalties of the linear probe, relative to the mean loss; the validation images choose one."""
_STEPS = 200
_CHUNK = 512


def mean_answer(targets: FloatArray, images: int) -> FloatArray:
    """The same for every image: how often the training images have each class, or their mean number.

    Args:
        targets: Training images x outputs.
        images: Number of images to answer for.
    """
    return np.repeat(targets.mean(axis=0, keepdims=True), images, axis=0)


def neighbours_answer(features: FloatArray, targets: FloatArray, queries: FloatArray) -> FloatArray:
    """Weighted mean of the targets of the nearest training images.

    The 20 that are nearest in cosine similarity s vote with exp(s / 0.07).

    Args:
        features: Training images x features.
        targets: Training images x outputs.
        queries: Images x features.

    Returns:
        Images x outputs.
    """
    known, count = _unit(features), min(NEIGHBOURS, len(features))
    found = []
    for start in range(0, len(queries), _CHUNK):
        similarity = _unit(queries[start : start + _CHUNK]) @ known.T
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        votes = np.take_along_axis(similarity, nearest, axis=1)
        weights = np.exp((votes - votes.max(axis=1, keepdims=True)) / TEMPERATURE)
        weights /= weights.sum(axis=1, keepdims=True)
        found.append(np.einsum("qk,qko->qo", weights, targets[nearest]))
    return np.concatenate(found)


def _unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float64)


def linear_answer(
    train: tuple[FloatArray, FloatArray], val: tuple[FloatArray, FloatArray], queries: FloatArray, link: Link
) -> FloatArray:
    """Answers of a linear layer on standardised features, with the L2 penalty that is best on `val`.

    Args:
        train: Features (images x features) and targets (images x outputs) to fit on.
        val: The same, to choose the penalty by; without an image the middle one is taken.
        queries: Images x features.
        link: What the targets are.

    Returns:
        Images x outputs: probabilities, or numbers.
    """
    centre, spread = train[0].mean(axis=0), train[0].std(axis=0)
    # What hardly varies says nothing, and would be blown up.
    spread = np.where(spread > 1e-6, spread, 1.0)
    scaled = (train[0] - centre) / spread
    fits = [fit_linear(scaled, train[1], link, penalty) for penalty in PENALTIES]
    chosen = len(fits) // 2
    if len(val[0]):
        losses = [_loss(apply((val[0] - centre) / spread), val[1], link) for apply in fits]
        chosen = int(np.argmin(losses))
    return fits[chosen]((queries - centre) / spread)


def fit_linear(
    features: FloatArray, targets: FloatArray, link: Link, penalty: float
) -> Callable[[FloatArray], FloatArray]:
    """Minimise mean loss + penalty / 2 * |weights|^2; the bias is free.

    Args:
        features: Images x features.
        targets: Images x outputs.
        link: Softmax with cross-entropy, sigmoid with cross-entropy summed over the outputs, or half the
            squared distance.
        penalty: Above 0.

    Returns:
        Features (images x features) to answers (images x outputs).
    """
    from scipy.optimize import minimize  # a plan can do without it

    images, width = features.shape
    shape = (width + 1, targets.shape[1])

    def cost(flat: FloatArray) -> tuple[float, FloatArray]:
        weights = flat.reshape(shape)
        scores = features @ weights[:-1] + weights[-1]
        answers = _link(scores, link)
        off = (answers - targets) / images
        gradient = np.vstack([features.T @ off + penalty * weights[:-1], off.sum(axis=0)])
        total = _loss(answers, targets, link) + penalty / 2 * float((weights[:-1] ** 2).sum())
        return total, gradient.ravel()

    options = {"maxiter": _STEPS}
    found = minimize(cost, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    fitted = found.x.reshape(shape)
    return lambda queries: _link(queries @ fitted[:-1] + fitted[-1], link)


def _link(scores: FloatArray, link: Link) -> FloatArray:
    from scipy.special import expit, softmax

    match link:
        case "softmax":
            return np.asarray(softmax(scores, axis=1), np.float64)
        case "sigmoid":
            return np.asarray(expit(scores), np.float64)
        case _:
            return scores


def _loss(answers: FloatArray, targets: FloatArray, link: Link) -> float:
    if link == "identity":
        return float(0.5 * ((answers - targets) ** 2).sum(axis=1).mean())
    tiny = 1e-12
    right = targets * np.log(np.maximum(answers, tiny))
    if link == "sigmoid":
        right = right + (1 - targets) * np.log(np.maximum(1 - answers, tiny))
    return float(-right.sum(axis=1).mean())
