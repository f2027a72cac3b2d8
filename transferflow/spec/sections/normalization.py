"""Normalisation statistics for another number of channels than the weights were trained with."""

from __future__ import annotations

from collections.abc import Sequence


def adapt_statistics(
    mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation for `channels` channels.

    As many values as channels stay as they are; any other number is averaged, and the average stands for
    every channel. Data and models share this rule, so that a first convolution that folds the
    normalisation in (`channel_adaptation: fold`) meets just the numbers that it folded.

    Args:
        mean: Per channel, on the 0..1 scale.
        std: Per channel, on the 0..1 scale.
        channels: Channels that the model sees.
    """
    if len(mean) == channels:
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
