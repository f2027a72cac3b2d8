from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.errors import Problem, SpecError
from transferflow.spec.load import load_spec

GOOD = """\
name: birds
task: {kind: classification}
data:
  format: image_folder
  root: data/birds
backbone:
  source: torchvision
  name: resnet50
"""


@pytest.fixture
def good() -> str:
    """A complete spec, eight lines long; a test puts more lines behind it."""
    return GOOD


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file beside the others and return its path, relative to the working directory."""
    monkeypatch.chdir(tmp_path)

    def _write(text: str | bytes, name: str = "spec.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return _write


@pytest.fixture
def problems_of(write: Callable[..., Path]) -> Callable[..., tuple[Problem, ...]]:
    """Problems of a spec given as text; none if it is good."""

    def _problems(text: str | bytes, overrides: tuple[str, ...] = ()) -> tuple[Problem, ...]:
        try:
            load_spec(write(text), overrides)
        except SpecError as error:
            return error.problems
        return ()

    return _problems
