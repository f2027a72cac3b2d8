"""Batch norm that is at rest, folded into the convolution before it: one pass over the features less.

At rest it scales and shifts each channel by numbers that do not change, which weights and bias of the
convolution can do as well (`torch.nn.utils.fusion`): the same up to rounding. Which norm follows which
convolution is not guessed from names or their order: shapes are sent through the model, and a pair is one
whose norm is given the very tensor that the convolution gives, which nobody else looks at.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops.misc import FrozenBatchNorm2d

from transferflow.models.cut.cut import Fold
from transferflow.models.cut.entry import compute_features
from transferflow.models.cut.playback import replaced_forwards
from transferflow.models.cut.shapes import NOT_ON_SHAPES, copy_to_meta


def find_folds(model: nn.Module, shape: tuple[int, int, int]) -> tuple[Fold, ...]:
    """Find what can be folded in a model in eval mode; nothing is changed.

    Args:
        model: On any device.
        shape: Channels, height and width of images.

    Returns:
        Nothing where the model can't be computed on shapes alone.
    """
    watch = FoldWatch()
    try:
        shapes = copy_to_meta(model)
        with torch.no_grad(), watch.over(shapes):
            outputs = compute_features(shapes, torch.empty(2, *shape, device="meta"))
    except NOT_ON_SHAPES:
        return ()
    return watch.found(outputs)


@contextmanager
def folded(model: nn.Module, folds: Sequence[Fold]) -> Iterator[None]:
    """Compute with folded weights within the block; the model's own tensors are not touched.

    Args:
        model: Whose weights do not change within the block.
        folds: Of this model, or of one with the same modules.
    """
    forwards: dict[str, Any] = {}
    for fold in folds:
        fused, rest = _fuse(model, fold)
        forwards |= {fold.conv: fused.forward, fold.norm: rest.forward}
    with replaced_forwards(model, forwards):
        yield


def apply_folds(model: nn.Module, folds: Sequence[Fold]) -> None:
    """Fold for good: what was folded is gone, and the model can't be trained or saved as what it was.

    Args:
        model: In eval mode, to answer with.
        folds: See `find_folds`.
    """
    for fold in folds:
        fused, rest = _fuse(model, fold)
        model.set_submodule(fold.conv, fused)
        model.set_submodule(fold.norm, rest.eval())


@torch.no_grad()
def _fuse(model: nn.Module, fold: Fold) -> tuple[nn.Module, nn.Module]:
    """The convolution with the norm in it, and what is left of the norm."""
    conv, norm = model.get_submodule(fold.conv), model.get_submodule(fold.norm)
    rest = _rest_of(norm)
    if not isinstance(conv, nn.Conv2d) or rest is None:
        raise TypeError(f"{fold.conv} and {fold.norm} are not what was found in the model")
    given: Any = norm  # torchvision's frozen norm has the same tensors, and no common class
    statistics = (given.running_mean, given.running_var, given.eps, given.weight, given.bias)
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics)
    fused = copy.copy(conv)  # of its settings: weight and bias are put in anew
    fused.__dict__["_parameters"] = {"weight": weight, "bias": bias}
    return fused.requires_grad_(False), rest


def _rest_of(norm: nn.Module) -> nn.Module | None:
    """What a norm does besides scaling and shifting by fixed numbers; `None`: it is none that does that."""
    kind = type(norm)
    if kind is FrozenBatchNorm2d:
        return nn.Identity()
    if norm.training or getattr(norm, "running_mean", None) is None:
        return None
    if kind is nn.BatchNorm2d:
        return nn.Identity()
    if kind.__module__.startswith("timm."):
        from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d  # takes long to import anew

        if kind in (BatchNormAct2d, FrozenBatchNormAct2d):
            given: Any = norm
            return nn.Sequential(given.drop, given.act)
    return None


class FoldWatch:
    """Watches a forward pass on shapes: who uses what a convolution gives."""

    def __init__(self) -> None:
        self._convs: dict[int, str] = {}
        self._inputs: dict[str, int] = {}
        self._calls: Counter[str] = Counter()
        build: Any = _Uses  # torch has no types here
        self._uses: _Uses = build()
        self._uses.begin()

    @contextmanager
    def over(self, model: nn.Module) -> Iterator[None]:
        """Watch for the length of the block."""
        handles = []
        names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        for path, module in model.named_modules():
            # One that has two names would be replaced under one of them alone.
            if module._forward_hooks or module._forward_pre_hooks or names[id(module)] > 1:
                continue
            if isinstance(module, nn.Conv2d):
                handles.append(module.register_forward_hook(partial(self._convolved, path)))
            elif _rest_of(module) is not None:
                handles.append(module.register_forward_pre_hook(partial(self._normed, path)))
        try:
            with self._uses:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def found(self, outputs: object) -> tuple[Fold, ...]:
        """Pairs of which each part was called once, and nobody else saw what lies between them.

        Args:
            outputs: Of the model.
        """
        shown = {id(leaf) for leaf in tree_leaves(outputs)}
        pairs = [(self._convs[between], norm, between) for norm, between in self._inputs.items()]
        return tuple(
            Fold(conv, norm)
            for conv, norm, between in pairs
            if self._calls[conv] == self._calls[norm] == 1
            and self._uses.times[between] == 1
            and between not in shown
        )

    def _convolved(self, path: str, module: nn.Module, inputs: object, output: object) -> None:
        self._calls[path] += 1
        if self._uses.weights.get(id(output)) == id(module.weight):
            self._convs[id(output)] = path

    def _normed(self, path: str, module: nn.Module, inputs: tuple[object, ...]) -> None:
        self._calls[path] += 1
        if inputs and id(inputs[0]) in self._convs:  # asked now: later ones may get its identity
            self._inputs[path] = id(inputs[0])


class _Uses(TorchDispatchMode):
    """Counts how often the outcome of each convolution is used, and notes its weight.

    Outcomes are kept, so that no other tensor gets the identity of one that is gone.
    """

    times: Counter[int]
    weights: dict[int, int]
    kept: list[object]

    def begin(self) -> None:
        self.times, self.weights, self.kept = Counter(), {}, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        given = kwargs or {}
        self.times.update(id(leaf) for leaf in tree_leaves((args, given)) if id(leaf) in self.weights)
        out = func(*args, **given)
        if func._overloadpacket is torch.ops.aten.convolution and isinstance(out, Tensor):
            self.weights[id(out)] = id(args[1])
            self.kept.append(out)
        return out
