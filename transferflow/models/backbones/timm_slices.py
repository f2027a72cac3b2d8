"""Layer groups of timm models, from each model's own `group_matcher`.

`group_matcher(coarse=True)` gives the groups, `group_matcher(coarse=False)` the blocks that timm's layer-wise
decay counts. A norm or convolution that timm counts with the block before it becomes a group of its own that
is no deeper (`Block.step`), so that it can be named in a spec and has timm's rate all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from torch import nn

from transferflow.models.backbones.grouping import Slice
from transferflow.models.layers import Block

WITH_PREVIOUS = (99999,)
Matcher = dict[str, Any] | Callable[[str], Any]


def slice_timm(model: nn.Module, prefix: str) -> list[Slice]:
    """Blocks of a timm model from stem to top, their parameter names with `prefix` before them."""
    names = [name for name, _ in model.named_parameters()]
    head = _head_of(model)
    coarse_of, fine_of = (_layers(model, [*names, head], coarse=coarse) for coarse in (True, False))
    tails = _tails(model)
    keys = {name: _coarse_key(name, coarse_of, tails) for name in names}
    named = _group_names(keys)
    ordered = sorted(names, key=lambda name: (keys[name], fine_of[name]))  # stable: keeps the model's order
    runs = [list(run) for _, run in groupby(ordered, key=lambda name: (keys[name], fine_of[name]))]
    depths = [fine_of[run[0]] for run in runs] + [fine_of[head]]
    groups = [named[keys[run[0]]] for run in runs]
    return [
        Slice(group, Block(block, tuple(f"{prefix}.{name}" for name in run), 1 if after > depth else 0))
        for run, group, block, depth, after in zip(
            runs, groups, _block_names(runs, groups), depths, depths[1:], strict=False
        )
    ]


def _head_of(model: nn.Module) -> str:
    """Parameter of the classifier, which is not there: it tells where timm counts it."""
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    named = config.get("classifier") or "head"
    return f"{named if isinstance(named, str) else named[0]}.weight"


def _layers(model: nn.Module, names: list[str], *, coarse: bool) -> Mapping[str, int]:
    """Layer number of each parameter."""
    from timm.models._manipulate import group_with_matcher  # group_parameters can take no extra name

    matcher = _matcher(model, coarse=coarse) or _child_of(model)
    found: dict[str, int] = group_with_matcher(((name, name) for name in names), matcher, reverse=True)
    return found


def _matcher(model: nn.Module, *, coarse: bool) -> Matcher | None:
    declare: Any = getattr(model, "group_matcher", None)
    try:
        found: Matcher | None = None if declare is None else declare(coarse=coarse)
    except AssertionError:  # how RDNet says that it has no coarse groups
        return None
    return found


def _child_of(model: nn.Module) -> Callable[[str], tuple[float, ...]]:
    """Stand-in for models without a matcher: each child, or each member of a container, is a layer."""
    order = [name for name, _ in model.named_children()]
    top = ("head", _head_of(model).partition(".")[0])

    def match(name: str) -> tuple[float, ...]:
        parts = name.split(".")
        if parts[0] not in order or parts[0] in top:
            return (float("inf"),) if parts[0] in top else (0.0, 0.0)
        inner = float(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0.0
        return (float(order.index(parts[0])), inner)

    return match


def _tails(model: nn.Module) -> tuple[re.Pattern[str], ...]:
    """Patterns of what timm counts with the block before it."""
    matcher = _matcher(model, coarse=True)
    if not isinstance(matcher, dict):
        return ()
    specs = [part for spec in matcher.values() if isinstance(spec, list | tuple) for part in spec]
    return tuple(re.compile(pattern) for pattern, suffix in specs if suffix == WITH_PREVIOUS)


def _coarse_key(
    name: str, coarse_of: Mapping[str, int], tails: Iterable[re.Pattern[str]]
) -> tuple[int, bool]:
    """Place of the parameter's group."""
    if coarse_of[name] == 0:
        return (0, False)
    return (coarse_of[name], any(tail.match(name) for tail in tails))


def _group_names(keys: Mapping[str, tuple[int, bool]]) -> Mapping[tuple[int, bool], str]:
    members: dict[tuple[int, bool], list[str]] = {}
    for name, key in keys.items():
        members.setdefault(key, []).append(name)
    found: dict[tuple[int, bool], str] = {}
    for key in sorted(members):
        others = [name for other, mine in members.items() if other != key for name in mine]
        name = _name_of(members[key], others)
        while name in found.values():
            name = _longer(members[key][0], name)
        found[key] = name
    return found


def _name_of(parameters: list[str], others: list[str]) -> str:
    """Name that people know: `stages.0`, `layer1`, `patch_embed`; for a last norm `norm`."""
    path = next((name for name in parameters if "." in name), parameters[0])
    first, *rest = path.split(".")
    if first == "head":
        return rest[0] if len(rest) > 1 and not rest[0].isdigit() else "top"
    if not any(name.startswith(f"{first}.") for name in others):
        return first
    unit = _unit(path)
    return _longer(path, unit) if unit == first else unit


def _unit(name: str) -> str:
    """Path down to the first part that ends in a number; without one, the first part."""
    parts = name.split(".")[:-1] or [name]
    for depth, part in enumerate(parts[:3], 1):
        if part[-1:].isdigit():
            return ".".join(parts[:depth])
    return parts[0]


def _longer(parameter: str, name: str) -> str:
    """One more part of the parameter's path; once that is used up, a mark."""
    longer = ".".join(parameter.split(".")[:-1][: name.count(".") + 2])
    return longer if longer != name else f"{name}_"


def _block_names(runs: Sequence[list[str]], groups: Sequence[str]) -> list[str]:
    """A name of its own for each block: its module if it is one, else its group, else its first module."""
    everything = [name for run in runs for name in run]
    found = ["head"]  # the classifier's, which the model gets later
    for run, group in zip(runs, groups, strict=True):
        module = _common_module(run)
        is_whole = module and sum(name.startswith(f"{module}.") for name in everything) == len(run)
        name = module if is_whole else group
        if name in found:
            name = run[0].rpartition(".")[0] or run[0]
        while name in found:
            name = f"{name}_"
        found.append(name)
    return found[1:]


def _common_module(parameters: list[str]) -> str:
    """Path of the module that holds all of the parameters."""
    paths = [name.split(".")[:-1] for name in parameters]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)
