from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torchvision.models import get_model_weights

from transferflow.models.layers import Backbone
from transferflow.spec.sections.backbone import Backbone as Section
from transferflow.store import file_digest

SECTIONS: TypeAdapter[Any] = TypeAdapter(Section)


@pytest.fixture(autouse=True)
def _same_numbers_each_time(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def loopback() -> Iterator[Any]:
    """A file server that can cut, stall and refuse; see `loopback.py`."""
    spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["loopback"] = module
    spec.loader.exec_module(module)
    state = module.Loopback()
    server = module.start(state)
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def section() -> Callable[..., Any]:
    return lambda **values: SECTIONS.validate_python(values)


@pytest.fixture
def publish(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Put a state dict where torchvision keeps its downloads, under a name with its own hash."""

    def put(name: str, state: Any, weights: str = "DEFAULT") -> Path:
        folder = tmp_path / "torch" / "hub" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "draft.pth"
        torch.save(state, draft)
        path = draft.rename(folder / f"{name}-{file_digest(draft)[:8]}.pth")
        published = (
            get_model_weights(name)[weights] if weights != "DEFAULT" else get_model_weights(name).DEFAULT
        )
        monkeypatch.setattr(published.value, "url", f"https://models.invalid/{path.name}")
        return path

    return put


@pytest.fixture(scope="session")
def check_groups() -> Callable[[Backbone], None]:
    """Every parameter in one group, every buffer below one group's modules, all names unique."""

    def check(model: Any) -> None:
        owned = [name for group in model.groups for name in group.parameters]
        assert sorted(owned) == sorted(name for name, _ in model.named_parameters())
        names = [group.name for group in model.groups]
        assert len(set(names)) == len(names)
        blocks = [block.name for group in model.groups for block in group.blocks]
        assert len(set(blocks)) == len(blocks)
        below: dict[str, str] = {}
        for group in model.groups:
            for path in group.modules:
                inside = model.get_submodule(path)
                for name, _ in [*inside.named_parameters(), *inside.named_buffers()]:
                    assert below.setdefault(f"{path}.{name}", group.name) == group.name
        for name, _ in model.named_buffers():
            assert name in below
        for group in model.groups:
            for name in group.parameters:
                assert below.get(name, group.name) == group.name

    return check
