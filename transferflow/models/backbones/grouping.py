"""From an ordered list of blocks to layer groups that own every parameter, buffer and module once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from transferflow.models.layers import Block, LayerGroup


@dataclass(frozen=True)
class Slice:
    """One block and the layer group that it belongs to."""

    group: str
    block: Block


def slice_below(
    model: nn.Module, group: str, name: str, prefixes: Sequence[str], *, deeper: bool = True
) -> Slice:
    """Take the parameters at or below `prefixes`.

    Args:
        model: The model whose parameter names count.
        group: Layer group.
        name: Block's name.
        prefixes: Module or parameter paths.
        deeper: Whether it counts one deeper than the block after it (`Block.step`).
    """
    found = tuple(n for n, _ in model.named_parameters() if any(_is_below(n, p) for p in prefixes))
    return Slice(group, Block(name, found, 1 if deeper else 0))


def compile_groups(model: nn.Module, slices: Sequence[Slice]) -> tuple[LayerGroup, ...]:
    """Merge neighbouring slices of one group, and find the modules that each group owns.

    Modules without parameters (dropout, pooling) go with the parameters before them.
    """
    blocks: dict[str, list[Block]] = {}
    for piece in slices:
        blocks.setdefault(piece.group, []).append(piece.block)
    owner = {name: group for group, mine in blocks.items() for block in mine for name in block.parameters}
    modules: dict[str, list[str]] = {group: [] for group in blocks}
    _own_modules(model, "", owner, modules, next(iter(blocks)))
    return tuple(
        LayerGroup(group, "backbone", tuple(mine), tuple(modules[group])) for group, mine in blocks.items()
    )


def _own_modules(
    module: nn.Module, path: str, owner: Mapping[str, str], found: dict[str, list[str]], before: str
) -> str:
    """List the largest subtrees that belong to one group; return the group of the last parameters."""
    prefix = f"{path}." if path else ""
    groups = {owner[prefix + name] for name, _ in module.named_parameters() if prefix + name in owner}
    if path and len(groups) <= 1:
        group = next(iter(groups), before)
        found[group].append(path)
        return group
    for name, _ in module.named_parameters(recurse=False):
        before = owner.get(prefix + name, before)
    for name, child in module.named_children():
        before = _own_modules(child, prefix + name, owner, found, before)
    return before


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
