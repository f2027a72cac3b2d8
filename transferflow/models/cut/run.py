"""Run the two parts of a cut model: record what crosses the cut, and play it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from transferflow.models.cut.cut import Cut, Kept, Played, Unused
from transferflow.models.cut.entry import compute_features
from transferflow.models.cut.playback import answered_calls

Activations = tuple[Tensor, ...]
"""What crosses a cut, in the order of `Cut.shapes`: B x shape each."""


class _Recorded(Exception):  # noqa: N818 - no error: it ends a forward pass that has given all it should
    pass


@torch.no_grad()
def compute_prefix(cut: Cut, model: nn.Module, images: Tensor) -> Activations:
    """Run a model up to its cut.

    Args:
        cut: Of this model, or of one with the same modules.
        model: In the modes in which it was cut.
        images: B x C x H x W, normalised, on the model's device.
    """
    wanted = {(call.path, call.number): call for call in cut.calls if call.is_kept}
    found: dict[tuple[str, int], list[object]] = {}
    counts: Counter[str] = Counter()

    def record(path: str, module: nn.Module, inputs: object, output: object) -> None:
        key = (path, counts[path])
        counts[path] += 1
        if key in wanted:
            found[key] = tree_flatten(output)[0]
            if len(found) == len(wanted):
                raise _Recorded

    paths = dict.fromkeys(path for path, _ in wanted)
    handles = [model.get_submodule(path).register_forward_hook(partial(record, path)) for path in paths]
    try:
        compute_features(model, images)
    except _Recorded:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return tuple(
        tensor
        for key, call in wanted.items()
        for value, tensor in zip(call.values, found[key], strict=True)
        if isinstance(value, Kept) and isinstance(tensor, Tensor)
    )


@contextmanager
def played_back(cut: Cut, model: nn.Module, activations: Activations) -> Iterator[None]:
    """Let one forward pass of a model take up at its cut; the images that it is given are not looked at.

    Args:
        cut: Of this model, or of one with the same modules.
        model: In the modes in which it was cut.
        activations: From `compute_prefix`, on the model's device.
    """
    with answered_calls(model, _answers(cut, activations)):
        yield


def _answers(cut: Cut, activations: Sequence[Tensor]) -> dict[tuple[str, int], object]:
    left = iter(activations)
    like = activations[0]
    return {(call.path, call.number): _answer(call, left, like) for call in cut.calls}


def _answer(call: Played, left: Iterator[Tensor], like: Tensor) -> object:
    leaves: list[object] = []
    for value in call.values:
        match value:
            case Kept():
                leaves.append(next(left))
            case Unused(shape):
                # Takes no memory; not a number, so that whoever needed it after all would be found out.
                empty = torch.full((), torch.nan, device=like.device)
                leaves.append(empty.expand(len(like), *shape))
            case _:
                leaves.append(value.value)
    return tree_unflatten(leaves, call.form)
