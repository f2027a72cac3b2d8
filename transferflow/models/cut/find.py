"""Find where a model can be cut, by sending shapes through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry

from transferflow.models.cut.cut import Constant, Cut, Fold, Kept, Played, Uncut, Unused
from transferflow.models.cut.entry import compute_features
from transferflow.models.cut.folding import FoldWatch
from transferflow.models.cut.playback import answered_calls
from transferflow.models.cut.shapes import NOT_ON_SHAPES, copy_to_meta
from transferflow.models.layers import is_batch_norm

_IMAGES = 13
"""Images that are sent through: a number that no other dimension is likely to have."""


def find_cut(model: nn.Module, shape: tuple[int, int, int]) -> Cut | Uncut:
    """Cut a model where it begins to train, as its modes and `requires_grad` stand; nothing is changed.

    Args:
        model: With the freeze applied (`training.freezing.apply_freeze`), on any device.
        shape: Channels, height and width of the images.

    Returns:
        `Uncut` where a layer that trains sees the images, or the model can't be computed on shapes alone.
    """
    images = torch.empty(_IMAGES, *shape, device="meta")
    watch, pairs = _Watch(), FoldWatch()
    try:
        shapes = copy_to_meta(model)
        with torch.enable_grad():
            with pairs.over(shapes), watch.over(shapes), _operations(watch):
                outputs = compute_features(shapes, images)
            found = watch.outermost()
            needed, sees_images = _needed(shapes, images, found)
    except NOT_ON_SHAPES as error:
        what = str(error).strip().partition("\n")[0]
        return Uncut(f"it can't be computed on shapes alone ({type(error).__name__}: {what[:200]})")
    if not found:
        return Uncut("a layer that trains, or depends on the rest of the batch, comes first")
    if sees_images or not needed:
        return Uncut("a layer that trains sees the images")
    return _cut(watch, found, needed, pairs.found(outputs))


@dataclass(frozen=True)
class _Ended:
    """A call that ended before the prefix did."""

    path: str
    number: int
    parent: int
    output: object
    operations: int


class _Watch:
    """Hooks on every module of a model: which calls end before anything trains, draws or mixes images."""

    def __init__(self) -> None:
        self.operations = 0
        self.is_over = False
        self._open: list[int] = []
        self._ended: dict[int, _Ended] = {}
        self._counts: Counter[str] = Counter()
        self._begun = 0

    @contextmanager
    def over(self, model: nn.Module) -> Iterator[None]:
        """Watch for the length of the block."""
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._begin))
            handles.append(module.register_forward_hook(partial(self._end, path)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def outermost(self) -> dict[tuple[str, int], _Ended]:
        """Calls whose outputs have a row per image, those inside others of them left out."""
        per_image = {number: call for number, call in self._ended.items() if _is_per_image(call.output)}
        return {(call.path, call.number): call for call in per_image.values() if call.parent not in per_image}

    def _begin(self, module: nn.Module, inputs: object) -> None:
        self._begun += 1
        self._open.append(self._begun)
        self.is_over = self.is_over or _mixes_images(module)

    def _end(self, path: str, module: nn.Module, inputs: object, output: object) -> None:
        this = self._open.pop()
        number = self._counts[path]
        self._counts[path] += 1
        self.is_over = self.is_over or _trains(output)
        if not self.is_over and not _hands_on(module):
            parent = self._open[-1] if self._open else 0
            self._ended[this] = _Ended(path, number, parent, output, self.operations)


class _Operations(TorchDispatchMode):
    """Counts floating-point operations, and sees what is drawn at random."""

    watch: _Watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        given = kwargs or {}
        out = func(*args, **given)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.watch.is_over = True
        count: Any = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.watch.operations += int(count(*args, **given, out_val=out))
        return out


def _operations(watch: _Watch) -> _Operations:
    build: Any = _Operations  # torch has no types here
    mode: _Operations = build()
    mode.watch = watch
    return mode


def _mixes_images(module: nn.Module) -> bool:
    """Whether it normalises by what is in the batch."""
    return is_batch_norm(module) and (module.training or getattr(module, "running_mean", None) is None)


def _hands_on(module: nn.Module) -> bool:
    """Whether it returns what it is given, which takes no time; one that draws ends the prefix by itself."""
    return isinstance(module, nn.Identity | _DropoutNd)


def _trains(output: object) -> bool:
    leaves, _ = tree_flatten(output)
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)


def _is_per_image(output: object) -> bool:
    leaves, _ = tree_flatten(output)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    others = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
    return (
        bool(tensors)
        and all(t.ndim > 0 and len(t) == _IMAGES and t.is_floating_point() for t in tensors)
        and all(other is None or isinstance(other, int | float | str) for other in others)
    )


def _needed(
    model: nn.Module,
    images: Tensor,
    found: Mapping[tuple[str, int], _Ended],
) -> tuple[set[tuple[str, int, int]], bool]:
    """Follow gradients back from the outputs: they end at the recorded tensors that are needed.

    Returns:
        Path, number of the call and place of each needed tensor; and whether the images are needed, too.
    """
    leaves: dict[tuple[str, int, int], Tensor] = {}
    answers: dict[tuple[str, int], object] = {}
    for (path, number), ended in found.items():
        flat, form = tree_flatten(ended.output)
        for place, value in enumerate(flat):
            if isinstance(value, Tensor):
                leaves[path, number, place] = value.detach().requires_grad_()
                flat[place] = leaves[path, number, place].clone()  # what follows may write into it
        answers[path, number] = tree_unflatten(flat, form)
    shown = images.detach().requires_grad_()
    with answered_calls(model, answers):
        outputs, _ = tree_flatten(compute_features(model, shown.clone()))
    total = [o.sum() for o in outputs if isinstance(o, Tensor) and o.requires_grad]
    gradients = torch.autograd.grad(total, [*leaves.values(), shown], allow_unused=True)
    reached = [gradient is not None for gradient in gradients]
    return {key for key, is_reached in zip(leaves, reached, strict=False) if is_reached}, reached[-1]


def _cut(
    watch: _Watch,
    found: Mapping[tuple[str, int], _Ended],
    needed: set[tuple[str, int, int]],
    folds: Sequence[Fold],
) -> Cut:
    calls = []
    last = 0
    for (path, number), ended in found.items():
        flat, form = tree_flatten(ended.output)
        values = tuple(_value(leaf, (path, number, place) in needed) for place, leaf in enumerate(flat))
        calls.append(Played(path, number, values, form))
        if calls[-1].is_kept:
            last = ended.operations
    inside = tuple(f"{call.path}." if call.path else "" for call in calls)
    mine = tuple(f for f in folds if all(f"{path}.".startswith(inside) for path in (f.conv, f.norm)))
    return Cut(tuple(calls), last // _IMAGES, watch.operations // _IMAGES, mine)


def _value(leaf: object, is_needed: bool) -> Kept | Unused | Constant:
    if not isinstance(leaf, Tensor):
        return Constant(leaf)
    return (Kept if is_needed else Unused)(tuple(leaf.shape[1:]))
