"""Answer calls of a model's modules instead of computing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def answered_calls(model: nn.Module, answers: Mapping[tuple[str, int], object]) -> Iterator[None]:
    """For one forward pass, return what is known of some calls; all others are computed.

    Args:
        model: Whose modules are called.
        answers: What a call returns, by the module's path and the call's number in the pass, from 0.
    """
    forwards: dict[str, Any] = {}
    for path in dict.fromkeys(path for path, _ in answers):
        mine = {number: output for (name, number), output in answers.items() if name == path}
        forwards[path] = _Playback(model.get_submodule(path).forward, mine)
    with replaced_forwards(model, forwards):
        yield


@contextmanager
def replaced_forwards(model: nn.Module, forwards: Mapping[str, Any]) -> Iterator[None]:
    """Let modules compute by another function within the block; their hooks are called all the same.

    Args:
        model: Whose modules they are.
        forwards: What is called in place of a module's `forward`, by the module's path.
    """
    before: list[tuple[nn.Module, Any]] = []
    try:
        for path, forward in forwards.items():
            module = model.get_submodule(path)
            before.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, forward in before:
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward


class _Playback:
    """Stands in for a module's forward: calls that were recorded are answered, others are computed."""

    def __init__(self, forward: Any, answers: dict[int, object]) -> None:  # noqa: ANN401 - any signature
        self._forward = forward
        self._answers = answers
        self._calls = 0

    def __call__(self, *inputs: Any, **named: Any) -> object:  # noqa: ANN401
        number = self._calls
        self._calls += 1
        return self._answers[number] if number in self._answers else self._forward(*inputs, **named)
