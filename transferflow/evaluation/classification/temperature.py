"""Temperature scaling: one number that makes probabilities come true as often as they say.

C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from transferflow.evaluation.statistics.bootstrap import FloatArray

_LEAST, _MOST = 1 / 50, 50.0


def fit_temperature(logits: FloatArray, truth: npt.NDArray[np.bool_], *, several: bool) -> float:
    """The temperature T with the least negative log-likelihood of logits / T; above 1 it makes less sure.

    The likelihood is convex in 1 / T, so that there is one least value.

    Args:
        logits: Images x classes.
        truth: Images x classes: whether the image has the class.
        several: Whether an image may have several classes (sigmoid), or one (softmax).

    Returns:
        T, 0.02 to 50; at an end where every image is right, or the logits say nothing.
    """
    from scipy.optimize import minimize_scalar  # a plan can do without it

    def loss(log_scale: float) -> float:
        return negative_log_likelihood(logits * math.exp(log_scale), truth, several=several)

    ends = (math.log(1 / _MOST), math.log(1 / _LEAST))
    return math.exp(-float(minimize_scalar(loss, bounds=ends, method="bounded").x))


def negative_log_likelihood(logits: FloatArray, truth: npt.NDArray[np.bool_], *, several: bool) -> float:
    """Mean over the images (one class each) or over images and classes (several)."""
    if several:
        # -log sigmoid(z) of what is true, -log sigmoid(-z) of what is not
        return float(np.logaddexp(0.0, np.where(truth, -logits, logits)).mean())
    highest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float((total - logits[truth]).mean())
