from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.merging.shape import EitherShape, ListShape, SectionShape, Shape, VariantsShape, slots
from transferflow.spec.schema import reference as module
from transferflow.spec.schema.reference import reference

FILE = Path(__file__).parents[3] / "docs" / "spec-reference.md"


def test_the_page_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_it_names_every_key() -> None:
    page = reference()
    for model in _models(SectionShape(ExperimentSpec)):
        for key in model.model_fields:
            assert f"| `{key}` |" in page, f"{model.__name__}.{key}"


def _models(shape: Shape) -> Iterator[type[BaseModel]]:
    match shape:
        case SectionShape(model=model):
            models = [model]
        case VariantsShape(variants=variants):
            models = list(variants.values())
        case ListShape(item=item):
            yield from _models(item.shape)
            return
        case EitherShape(members=members):
            for member in members.values():
                yield from _models(member)
            return
        case _:
            return
    yield from models
    for model in models:
        for slot in slots(model).values():
            yield from _models(slot.shape)


def test_its_links_lead_to_its_headings() -> None:
    page = reference()
    anchors = {
        re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
        for title in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links
    assert links <= anchors


def test_it_is_written_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.md"
    monkeypatch.setattr("sys.argv", ["reference", str(target)])
    module.main()
    assert target.read_text(encoding="utf-8") == reference()
