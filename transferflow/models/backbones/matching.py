"""Fitting a foreign state dict to a model: renaming, and an honest account of what fits."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from transferflow.errors import Problem, WeightsError
from transferflow.text import one_line

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
        share = math.floor(self.share * 1000) / 10  # rounded down: 100 % is all
        parts = [f"{len(self.matched)} keys matched ({share:.1f}%)"]
        for title, keys in (
            ("missing", self.missing),
            ("of another shape", self.misshapen),
            ("unexpected", self.unexpected),
        ):
            if keys:
                parts.append(f"{len(keys)} {title}: {list_keys(keys)}")
        return "; ".join(parts)


def list_keys(keys: Sequence[str], limit: int = 4) -> str:
    """The first keys, safe to print."""
    return ", ".join(map(one_line, keys[:limit])) + (", …" if len(keys) > limit else "")


def rename_keys(
    state: Mapping[str, Tensor], prefix: str, key_map: Mapping[str, str], model_keys: Sequence[str]
) -> dict[str, Tensor]:
    """Take `prefix` off, then replace the start of each key by the longest entry of `key_map` that fits.

    Raises:
        WeightsError: If a rule fits no key, or two keys become one.
    """
    starts = sorted(key_map, key=len, reverse=True)
    origins: dict[str, str] = {}
    used: set[str] = set()
    for key in state:
        short = key.removeprefix(prefix)
        start = next((old for old in starts if short.startswith(old)), None)
        new = short
        if start is not None:
            used.add(start)
            new = key_map[start] + short[len(start) :]
        if new in origins:
            raise _collision(origins[new], key, new)
        origins[new] = key
    problems = [_unused_entry(old, list(state), prefix) for old in key_map if old not in used]
    if prefix and not any(key.startswith(prefix) for key in state):
        problems = [_unused_prefix(prefix, list(state), model_keys)]
    if problems:
        raise WeightsError.from_problems(problems)
    return {new: state[key] for new, key in origins.items()}


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


def unfit_values(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Keys of parameters and running statistics that a model can't start from, and why.

    Other buffers may hold bounds and masks, where infinity is a value like any other.
    """
    statistics = [(key, own) for key, own in model.named_buffers() if "running_" in key]
    wanted = dict([*model.named_parameters(), *statistics])
    found = ((key, _unfit(key, own, state[key])) for key, own in wanted.items() if key in state)
    return tuple(f"{one_line(key)} ({why})" for key, why in found if why)


def values_error(unfit: Sequence[str], where: str) -> WeightsError:
    """Refuse values that a model can't start from."""
    return WeightsError(
        "the weights file holds values that are no weights",
        where=where,
        found=", ".join(unfit[:4]) + (f", … {len(unfit)} in all" if len(unfit) > 4 else ""),
        allowed="finite floating-point numbers, and variances that are not negative",
        hint="the training that made the file diverged, or it was saved for integer inference: take another",
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


def _unfit(key: str, own: Tensor, value: Tensor) -> str:
    if value.is_floating_point() != own.is_floating_point():
        return str(value.dtype).removeprefix("torch.")
    cast = value.to(own.dtype)
    if not cast.isfinite().all():
        return "NaN or infinite"
    return "negative" if key.endswith("running_var") and (cast < 0).any() else ""


def _unused_prefix(prefix: str, file_keys: Sequence[str], model_keys: Sequence[str]) -> Problem:
    better = suggest_prefix(model_keys, file_keys)
    return Problem(
        "no key of the file begins with the prefix",
        where="backbone.prefix",
        found=f"{prefix}; the file has {list_keys(file_keys)}",
        hint=f"the file puts '{one_line(better)}' before its keys"
        if better
        else "correct it, or leave it out",
    )


def _unused_entry(old: str, file_keys: Sequence[str], prefix: str) -> Problem:
    short = [key.removeprefix(prefix) for key in file_keys]
    close = difflib.get_close_matches(old, _starts(short), 3, 0.5)
    return Problem(
        "the entry renames no key of the file",
        where=f"backbone.key_map.{old}",
        found=f"the file has {list_keys(short)}" + (" once the prefix is off" if prefix else ""),
        allowed=f"the start of a key: did you mean {', '.join(map(one_line, close))}?" if close else "",
        hint="correct it, or leave it out; of two entries that fit, the longer one is taken",
    )


def _starts(keys: Iterable[str]) -> list[str]:
    """Every start of the keys that ends with a dot."""
    found = {key[: i + 1]: None for key in keys for i, letter in enumerate(key) if letter == "."}
    return list(found)


def _collision(first: str, second: str, new: str) -> WeightsError:
    return WeightsError(
        "two keys of the file become one",
        where="backbone.key_map",
        found=f"{one_line(first)} and {one_line(second)} both become {one_line(new)}",
        allowed="one key each",
        hint="rename one of them out of the way in backbone.key_map",
    )
