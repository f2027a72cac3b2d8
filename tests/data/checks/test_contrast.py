from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.inspection import check_listing

KINDS = {"contrast_lost", "low_contrast", "flat_image"}


@pytest.fixture
def check(tmp_path, data_section, truth_of):
    """Findings about the contrast of images, each an array, in a CSV data set."""

    def run(arrays, **fields):
        for i, values in enumerate(arrays):
            name = tmp_path / f"{i}.{'png' if values.dtype in (np.uint8, np.uint16) else 'tif'}"
            if name.suffix == ".png":
                Image.fromarray(values).save(name)
            else:
                tifffile.imwrite(name, values)
        rows = "".join(f"{f.name},{'ab'[i % 2]}\n" for i, f in enumerate(sorted(tmp_path.glob("*.[pt]*"))))
        (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
        data = data_section(format="csv", root=str(tmp_path), file="t.csv", channels=1, **fields)
        found = check_listing(data, truth_of(), load_listing(data, truth_of())).findings
        return {f.kind: f for f in found if f.kind in KINDS}

    return run


def noise(count, top, dtype, bottom=0):
    random = np.random.default_rng(0)
    arrays = [random.integers(bottom, top, (16, 16), endpoint=True).astype(dtype) for _ in range(count)]
    for array in arrays:
        array[0, :2] = bottom, top
    return arrays


@pytest.mark.parametrize(
    ("top", "dtype"),
    [(255, np.uint16), (4095, np.uint16), (235, np.int32), (255, np.int16), (255, np.uint32)],
)
def test_values_that_conversion_loses_are_an_error(check, top, dtype):
    """8 bits in files of 16 become black; in signed files of 16 or 32 bits all becomes 128."""
    (found,) = check(noise(12, top, dtype)).values()
    assert (found.kind, found.severity) == ("contrast_lost", "error")
    assert found.reason.startswith("12 of 12 images are next to one gray after conversion")
    middle = f"level: {top / 2:g}, width: {top}"
    assert (
        f"set `intensity: {{kind: window, {middle}}}`, or `{{kind: percentile}}`, in `data`" in found.reason
    )
    assert f"the first holds {np.dtype(dtype)} values 0 to {top}" in found.reason


def test_the_window_of_the_hint_holds_the_values_wherever_they_lie(check):
    (found,) = check(noise(12, 1255, np.uint16, bottom=1000)).values()
    assert "{kind: window, level: 1127.5, width: 255}" in found.reason
    assert not check(
        noise(12, 1255, np.uint16, bottom=1000), intensity={"kind": "window", "level": 1127.5, "width": 255}
    )


@pytest.mark.parametrize(
    "intensity", [{"kind": "percentile"}, {"kind": "window", "level": 128, "width": 256}]
)
def test_what_the_hint_says_helps(check, intensity):
    assert not check(noise(12, 255, np.uint16), intensity=intensity)


def test_a_window_beside_the_values(check):
    (found,) = check(
        noise(12, 255, np.uint16), intensity={"kind": "window", "level": 4000, "width": 400}
    ).values()
    assert (found.kind, found.severity) == ("contrast_lost", "error")
    assert "data.intensity shows 3800 to 4200" in found.reason


def test_a_few_files_of_another_kind_are_an_error_too(check):
    arrays = [*noise(10, 255, np.uint8), *noise(2, 255, np.uint16)]
    (found,) = check(arrays).values()
    assert (found.kind, found.severity) == ("contrast_lost", "error")
    assert found.reason.startswith("2 of 12 images")
    assert check(arrays, max_bad_fraction=0.2)["contrast_lost"].severity == "warning"


def test_a_quarter_of_the_range_is_a_warning(check):
    (found,) = check(noise(12, 16_000, np.uint16)).values()
    assert (found.kind, found.severity) == ("low_contrast", "warning")


@pytest.mark.parametrize("flat", [3, 12])
def test_images_that_are_flat_in_their_files_are_said(check, flat):
    arrays = [*noise(12 - flat, 255, np.uint8), *[np.full((16, 16), 7 * i, np.uint8) for i in range(flat)]]
    (found,) = check(arrays).values()
    assert (found.kind, found.severity) == ("flat_image", "warning")
    assert found.reason.startswith(f"{flat} of 12 images are next to one gray in their files")


def test_dark_frames_of_16_bits_are_no_lost_contrast(check):
    arrays = [*noise(10, 65_535, np.uint16), *[np.full((16, 16), i, np.uint16) for i in range(2)]]
    assert list(check(arrays)) == ["flat_image"]


def test_pictures_are_fine(check):
    assert not check([*noise(6, 255, np.uint8), *noise(6, 65_535, np.uint16), *noise(2, 230, np.uint8, 100)])
