"""`predict` from the command line, with detectors and segmenters that were never trained."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transferflow.cli.main import app

PLACED = ("detection", "segmentation")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in a folder with three images."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("a.png", "b.gif", "grün.jpg"):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(name)

    def go(bundle, *arguments, code=0):
        result = CliRunner().invoke(app, ["predict", str(bundle), *arguments], catch_exceptions=True)
        assert result.exit_code == code, result.output
        return result

    return go


def images_of(result):
    return {row["image"] for row in csv.DictReader(io.StringIO(result.stdout))}


@pytest.mark.parametrize("task", PLACED)
@pytest.mark.parametrize("tile", [(), ("--tile", "32")])
def test_a_second_run_looks_at_no_pictures_of_the_first(bundles, run, task, tile):
    for _ in range(2):
        assert images_of(run(bundles[task], ".", "--csv", *tile)) == {"a.png", "b.gif", "grün.jpg"}
    overlays = sorted(p.name for p in Path("predictions").glob("*overlay.png"))
    assert [name.split("-")[0] for name in overlays] == ["a", "b", "grün"]


def test_the_json_names_overlays_and_masks(bundles, run):
    for task, kinds in (("detection", {"overlay"}), ("segmentation", {"overlay", "mask"})):
        for image in json.loads(run(bundles[task], ".", "--json").stdout)["images"]:
            files = {kind: image[kind] for kind in ("overlay", "mask") if kind in image}
            assert set(files) == kinds
            assert all(Path(file).is_file() for file in files.values())


def test_an_image_in_which_nothing_was_found_is_listed(bundles, run):
    table = run(bundles["detection"], "a.png", "--min-score", "1")
    assert "(none)" in table.stdout
    rows = list(
        csv.DictReader(io.StringIO(run(bundles["detection"], ".", "--csv", "--min-score", "1").stdout))
    )
    assert [row.pop("image") for row in rows] == ["a.png", "b.gif", "grün.jpg"]
    assert all(set(row.values()) == {""} for row in rows)
    assert "label" in rows[0]


@pytest.mark.parametrize("tile", [(), ("--tile", "32")])
def test_a_name_that_is_not_utf8_is_a_failure_like_others(bundles, run, tile):
    os.rename(b"a.png", b"\xff.png")  # noqa: PTH104 - Path takes no bytes
    result = run(bundles["detection"], ".", "--csv", *tile, code=1)
    assert images_of(result) == {"b.gif", "grün.jpg"}
    assert "the name is not UTF-8" in result.stderr


def test_a_file_given_twice_is_looked_at_once(bundles, run):
    absolute = str(Path("a.png").absolute())
    assert images_of(run(bundles["detection"], "./a.png", "a.png", absolute, ".", "--csv")) == {
        "a.png",
        "b.gif",
        "grün.jpg",
    }


def test_an_output_that_is_a_file_is_refused_before_anything_is_predicted(bundles, run):
    for output in ("a.png", "a.png/below"):
        result = run(bundles["detection"], ".", "-o", output, code=1)
        assert "masks and overlays can't be written there" in str(result.exception)
        assert result.stdout == ""
