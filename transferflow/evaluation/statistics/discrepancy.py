"""Are two samples of feature vectors drawn from one distribution? Maximum mean discrepancy, by permutation.

A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf, A. Smola, "A Kernel Two-Sample Test", JMLR 13, 2012: the
unbiased estimate of MMD² (eq. 3) with a Gaussian kernel whose width is the median distance of the pooled
sample (section 8). B. Phipson, G. Smyth, "Permutation P-values Should Never Be Zero", SAGMB 9, 2010: the
observed arrangement counts as one of those that were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferflow.evaluation.statistics.bootstrap import FloatArray

PERMUTATIONS = 999
_ROUNDING = 1e-12
"""Arrangements that differ by less than rounding count as equal."""


@dataclass(frozen=True)
class Discrepancy:
    """How far apart two samples are.

    Attributes:
        statistic: Unbiased estimate of MMD²: about 0 for samples of one distribution, at most 2.
        p_value: Chance of one at least as large if both came from one distribution, 0.001 to 1.
    """

    statistic: float
    p_value: float


def compare_samples(first: FloatArray, second: FloatArray, *, seed: int) -> Discrepancy:
    """Compare two samples of vectors; the same seed gives the same p-value.

    Args:
        first: m x features, with m at least 2.
        second: n x features, with n at least 2.
        seed: Draws the permutations.
    """
    kernel = gaussian_kernel(np.concatenate([first, second]))
    sides = _arrangements(len(first), len(kernel), seed)
    found = _discrepancies(kernel, sides, len(first))
    as_large = int((found[1:] >= found[0] - _ROUNDING).sum())
    return Discrepancy(float(found[0]), (1 + as_large) / (1 + PERMUTATIONS))


def gaussian_kernel(vectors: FloatArray) -> FloatArray:
    """exp(-d² / 2s²) of each two vectors, with s the median distance of different vectors: N x N."""
    centred = vectors - vectors.mean(axis=0)  # distances stay, and little is lost to rounding
    norms = (centred**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * centred @ centred.T, 0)
    np.fill_diagonal(squares, 0)
    apart = squares[np.triu_indices(len(squares), 1)]
    apart = apart[apart > _ROUNDING * max(float(norms.max()), 1.0)]
    if not apart.size:
        return np.ones_like(squares)
    kernel: FloatArray = np.exp(-squares / (2 * float(np.median(np.sqrt(apart))) ** 2))
    return kernel


def _arrangements(first: int, size: int, seed: int) -> FloatArray:
    """1 where an image is on the first side: size x (the observed one and all permutations)."""
    random = np.random.default_rng(seed)
    sides = np.zeros((size, 1 + PERMUTATIONS))
    sides[:first, 0] = 1
    for column in range(1, 1 + PERMUTATIONS):
        sides[random.permutation(size)[:first], column] = 1
    return sides


def _discrepancies(kernel: FloatArray, sides: FloatArray, first: int) -> FloatArray:
    """Unbiased MMD² of each arrangement, from sums over the kernel alone."""
    second = len(kernel) - first
    sums = kernel @ sides
    within = (sides * sums).sum(axis=0)
    between = sums.sum(axis=0) - within
    rest = kernel.sum() - within - 2 * between
    found: FloatArray = (
        (within - first) / (first * (first - 1))  # the diagonal is 1
        + (rest - second) / (second * (second - 1))
        - 2 * between / (first * second)
    )
    return found
