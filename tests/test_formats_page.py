"""The examples of docs/formats.md are made as the page shows them, and listed; the README's specs load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import TypeAdapter

from transferflow.data.listing import load_listing
from transferflow.spec.load import load_spec
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.task import TASKS, Task

FORMATS = {
    name
    for variant in get_args(get_args(Data)[0])
    for name in get_args(variant.model_fields["format"].annotation)
}
PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
BLOCK = re.compile(r"(?:`([^`\n]+)`:\n\n)?```([\w-]+)\n(.*?)```", re.DOTALL)


def examples() -> Iterator[tuple[list[str], dict[str, str], dict[str, object]]]:
    """Images, other files and sections of each example."""
    images: list[str] = []
    files: dict[str, str] = {}
    for name, kind, text in BLOCK.findall(PAGE.read_text()):
        if kind == "text":
            images += text.split()
        elif kind == "yaml":
            yield images, files, yaml.safe_load(text)
            images, files = [], {}
        else:
            files[name] = text


EXAMPLES = list(examples())


@pytest.mark.parametrize(
    ("images", "files", "sections"), EXAMPLES, ids=[str(e[2]["data"]["root"]) for e in EXAMPLES]
)
def test_an_example_is_read_as_the_page_says(tmp_path, images, files, sections):
    data = TypeAdapter(Data).validate_python(sections["data"])
    task = TypeAdapter(Task).validate_python(sections["task"])
    if data.format == "dicom":
        return  # its files are not shown
    for number, name in enumerate(images):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((48, 64, 3), 20 * number, np.uint8)
        if "/masks/" in name:
            pixels = np.zeros((48, 64), np.uint8)
            pixels[10:20, 10:30] = 1
        Image.fromarray(pixels).save(path)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    listing = load_listing(data, task.truth, tmp_path)
    shown = {Path(name).relative_to(data.root).as_posix() for name in images if "/masks/" not in name}
    assert {record.path for record in listing.records} == shown
    assert not [finding for finding in listing.findings if finding.severity != "warning"]
    assert all(record.labels or record.boxes or record.mask for record in listing.records)


def test_the_specs_of_the_readme_are_right(tmp_path):
    blocks = re.findall(r"```yaml\n(name: .*?)```", (PAGE.parent.parent / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    for text in blocks:
        (tmp_path / "spec.yaml").write_text(text)
        assert load_spec(tmp_path / "spec.yaml").backbone.source == "package"  # runs without a network


def test_every_format_has_an_example():
    formats = {example[2]["data"]["format"] for example in EXAMPLES}
    assert formats | {"parquet"} == FORMATS


def test_every_format_serves_a_task():
    assert {name for traits in TASKS.values() for name in traits.formats} == FORMATS
