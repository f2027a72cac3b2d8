"""Masks whose palettes do not agree on what a value is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.inspection import check_listing

RED, GREEN, BLUE, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 0)


@pytest.fixture
def palettes(tmp_path, paint, data_section, truth_of):
    """What is said of masks of two values, each with its own palette."""

    def run(*palettes):
        values = np.zeros((16, 24), np.uint8)
        values[4:9, 3:20] = 1
        for i, palette in enumerate(palettes):
            paint(tmp_path / "images" / f"{i:02}.png", seed=i)
            (tmp_path / "masks").mkdir(exist_ok=True)
            mask = Image.fromarray(values)
            if palette:
                mask.putpalette([band for colour in palette for band in colour])
            mask.save(tmp_path / "masks" / f"{i:02}.png")
        truth = truth_of("segmentation")
        data = data_section(format="mask_folder", root=str(tmp_path), classes=["sky", "tree"])
        found = check_listing(data, truth, load_listing(data, truth)).findings
        return [(f.severity, f.where, f.reason) for f in found if f.kind == "palettes_differ"]

    return run


def test_colours_that_swap_their_values_are_an_error(palettes):
    ((severity, where, reason),) = palettes((BLACK, RED), (RED, BLACK), *[(BLACK, RED)] * 10)
    assert (severity, where) == ("error", "masks/01.png")
    assert "value 0 in several colours: [0, 0, 0] in masks/00.png, [200, 0, 0] in masks/01.png" in reason
    assert "data.encoding: rgb" in reason


def test_a_value_of_several_colours_is_said(palettes):
    ((severity, where, reason),) = palettes((BLACK, RED), (BLACK, GREEN), (BLACK, BLUE))
    assert (severity, where) == ("warning", "masks/01.png")
    assert "value 1 in several colours" in reason


@pytest.mark.parametrize("others", [(BLACK, RED), None, (BLACK, BLACK)])
def test_palettes_that_agree_or_tell_nothing(palettes, others):
    assert not palettes((BLACK, RED), others, (BLACK, RED))
