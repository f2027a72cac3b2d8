"""Fitting a foreign state dict to a model: renaming, and an honest account of what fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class MatchReport:
    """What a weights file fills of a backbone; batch norm's counters are left out.

    Attributes:
        matched: Keys of the model that the file fills.
        missing: Keys of the model that the file has not.
        misshapen: Keys that both have, in different shapes.
        unexpected: Keys of the file that the model has not (a classifier's, as a rule).
        share: The smaller of the shares of matched keys and of matched numbers.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]
    unexpected: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} keys matched ({self.share:.1%})"]
        for title, keys in (
            ("missing", self.missing),
            ("of another shape", self.misshapen),
            ("unexpected", self.unexpected),
        ):
            if keys:
                more = ", …" if len(keys) > 4 else ""
                parts.append(f"{len(keys)} {title}: {', '.join(keys[:4])}{more}")
        return "; ".join(parts)


def rename_keys(state: Mapping[str, Tensor], prefix: str, key_map: Mapping[str, str]) -> dict[str, Tensor]:
    """Take `prefix` off, then replace the start of each key by the longest entry of `key_map` that fits."""
    starts = sorted(key_map, key=len, reverse=True)
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        short = key.removeprefix(prefix)
        start = next((old for old in starts if short.startswith(old)), None)
        found[short if start is None else key_map[start] + short[len(start) :]] = value
    return found


def match_state(model_state: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> MatchReport:
    """Compare keys and shapes."""
    wanted = {key: value for key, value in model_state.items() if not key.endswith(COUNTERS)}
    matched = tuple(key for key in wanted if key in state and state[key].shape == wanted[key].shape)
    filled = sum(wanted[key].numel() for key in matched)
    numbers = sum(value.numel() for value in wanted.values())
    return MatchReport(
        matched=matched,
        missing=tuple(key for key in wanted if key not in state),
        misshapen=tuple(key for key in wanted if key in state and key not in set(matched)),
        unexpected=tuple(key for key in state if key not in model_state),
        share=min(len(matched) / max(len(wanted), 1), filled / max(numbers, 1)),
    )


def suggest_prefix(model_keys: Sequence[str], file_keys: Sequence[str]) -> str:
    """The prefix that makes most of the file's keys fit, or nothing."""
    ends: dict[str, int] = {}
    wanted = set(model_keys)
    for key in file_keys:
        for cut in [0, *(i + 1 for i, letter in enumerate(key) if letter == ".")]:
            if key[cut:] in wanted:
                ends[key[:cut]] = ends.get(key[:cut], 0) + 1
                break
    best = max(ends, key=lambda prefix: ends[prefix], default="")
    return best if ends.get(best, 0) > len(wanted) / 2 else ""
