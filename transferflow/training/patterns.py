"""Names and patterns of layer groups: every rule matches something, or says what exists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from transferflow.errors import PlanError, Problem
from transferflow.models.layers import LayerGroup
from transferflow.spec.wording import did_you_mean
from transferflow.spec.yaml.tree import Key, path_text

Rule = tuple[tuple[Key, ...], str]
"""Key path of a rule in the spec, and the name or pattern that stands there."""


def match_groups(pattern: str, groups: Sequence[LayerGroup]) -> tuple[str, ...]:
    """Names of the groups, if any, that a name or pattern (`blocks.*`) means, in model order."""
    names = [group.name for group in groups]
    if pattern in names:
        return (pattern,)
    return tuple(name for name in names if fnmatchcase(name, pattern))


def match_rules(rules: Iterable[Rule], groups: Sequence[LayerGroup]) -> dict[str, tuple[str, ...]]:
    """Names of the groups that each pattern means.

    Args:
        rules: The rules; a pattern may stand in several of them.
        groups: The model's layer groups.

    Raises:
        PlanError: If some match none: a problem for each, with the names that exist.
    """
    found: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for path, pattern in rules:
        found[pattern] = match_groups(pattern, groups)
        if not found[pattern]:
            problems.append(_no_match(path, pattern, groups))
    if problems:
        raise PlanError.from_problems(problems)
    return found


def _no_match(path: Sequence[Key], pattern: str, groups: Sequence[LayerGroup]) -> Problem:
    return Problem(
        f"no layer group is called or matches {pattern!r}",
        where=path_text(path),
        found=pattern,
        allowed=", ".join(group.name for group in groups),
        hint=_hint(pattern, groups),
    )


def _hint(pattern: str, groups: Sequence[LayerGroup]) -> str:
    for group in groups:
        if any(pattern == block.name or block.name.endswith(f".{pattern}") for block in group.blocks):
            return f"{pattern} is a block of the group {group.name}: name the group"
    names = [group.name for group in groups]
    below = [name for name in names if name.startswith(f"{pattern}.")]
    if below:
        return f"to mean {', '.join(below[:3])}{', …' if below[3:] else ''}: {pattern}.*"
    return did_you_mean(pattern, names)
