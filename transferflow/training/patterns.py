"""Names and patterns of layer groups: every rule matches something, or says what exists."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from transferflow.errors import PlanError
from transferflow.models.layers import LayerGroup
from transferflow.spec.wording import did_you_mean


def match_groups(pattern: str, groups: Sequence[LayerGroup], where: str) -> tuple[str, ...]:
    """Names of the groups that a name or pattern (`blocks.*`) means, in model order.

    Args:
        pattern: A group's name, or a shell pattern.
        groups: The model's layer groups.
        where: Key path of the rule, for the message.

    Raises:
        PlanError: If it matches none; the message lists the names that exist.
    """
    names = [group.name for group in groups]
    if pattern in names:
        return (pattern,)
    found = tuple(name for name in names if fnmatchcase(name, pattern))
    if found:
        return found
    raise PlanError(
        f"no layer group is called or matches {pattern!r}",
        where=where,
        found=pattern,
        allowed=", ".join(names),
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
