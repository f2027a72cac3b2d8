"""Calibration: does a predicted probability of 0.8 come true eight times out of ten?"""

from __future__ import annotations

import numpy as np

from transferflow.evaluation.curves import Reliability
from transferflow.evaluation.statistics.bootstrap import FloatArray, Statistic, ratio

BINS = 15


def bin_index(confidence: FloatArray) -> FloatArray:
    """Bin of each confidence among `BINS` bins of equal width, each closed above."""
    index: FloatArray = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1)
    return index


def calibration_statistic(confidence: FloatArray, correct: FloatArray) -> Statistic:
    """Expected calibration error as a function of image multiplicities.

    The mean over bins, weighted by their size, of |accuracy - mean confidence|, with 15 bins of equal
    width: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    Args:
        confidence: 0..1, images x decisions (one decision per image, or one per label).
        correct: 0 or 1 of the same shape: whether the decision came true.

    Returns:
        Multiplicities (resamples x images) to ECE (resamples), 0..1.
    """
    index = bin_index(confidence)
    gaps = np.stack([((correct - confidence) * (index == b)).sum(axis=1) for b in range(BINS)], axis=1)
    decisions = confidence.shape[1]

    def expected_calibration_error(weights: FloatArray) -> FloatArray:
        total = weights.sum(axis=1) * decisions
        # Bin size cancels: size/total * |sum of gaps / size|.
        return ratio(np.abs(weights @ gaps).sum(axis=1), total)

    return expected_calibration_error


def reliability_bins(confidence: FloatArray, correct: FloatArray) -> Reliability:
    """`BINS` bins of the reliability diagram; `None` where a bin is empty.

    Args:
        confidence: 0..1, images x decisions.
        correct: 0 or 1, same shape.
    """
    index = bin_index(confidence).astype(np.intp).ravel()
    count = np.bincount(index, minlength=BINS)
    mean_confidence = np.bincount(index, confidence.ravel(), BINS) / np.maximum(count, 1)
    accuracy = np.bincount(index, correct.ravel(), BINS) / np.maximum(count, 1)
    return Reliability(
        low=[b / BINS for b in range(BINS)],
        high=[(b + 1) / BINS for b in range(BINS)],
        count=[int(n) for n in count],
        confidence=[float(v) if n else None for v, n in zip(mean_confidence, count, strict=True)],
        accuracy=[float(v) if n else None for v, n in zip(accuracy, count, strict=True)],
    )
