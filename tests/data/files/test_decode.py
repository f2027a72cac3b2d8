import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from skimage import data as photos

from transferflow.data.files.decode import decode_image
from transferflow.errors import DataError
from transferflow.spec.sections.intensity import FullRange, Percentile, Window

RGB = photos.astronaut()[:48, :64]
OPEN = Image.fromarray(RGB)
GRAY = np.asarray(OPEN.convert("L"))
ALPHA = np.zeros((48, 64), np.uint8)
ALPHA[10:30, 20:40] = 255
CUT_OUT = np.where(ALPHA[..., None] == 255, RGB, 255)


def write(path: Path, values: np.ndarray, **options) -> Path:
    """16-bit PNG and TIFF need writers of their own; OpenCV wants BGR."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, **options)
    elif values.ndim == 3:
        cv2.imwrite(str(path), values[..., [2, 1, 0, 3][: values.shape[2]]])
    else:
        cv2.imwrite(str(path), values)
    return path


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("lzw.tif", {"compression": "tiff_lzw"}),
        ("deflate.tif", {"compression": "tiff_adobe_deflate"}),
        ("packbits.tif", {"compression": "packbits"}),
    ],
)
def test_lossless_formats_give_the_pixels(tmp_path, name, options):
    path = save(tmp_path / name, OPEN, **options)
    np.testing.assert_array_equal(decode_image(path, 3), RGB)


@pytest.mark.parametrize("name", ["a.jpg", "jpeg.tif"])
def test_lossy_formats_equal_pillow(tmp_path, name):
    path = save(tmp_path / name, OPEN, **({"compression": "jpeg"} if name.endswith("tif") else {}))
    np.testing.assert_array_equal(decode_image(path, 3), np.asarray(Image.open(path)))


def test_rgb_becomes_gray_by_luma(tmp_path):
    decoded = decode_image(save(tmp_path / "a.png", OPEN), 1)
    assert decoded.shape == (48, 64, 1)
    assert np.abs(decoded[..., 0].astype(int) - GRAY).max() <= 1


@pytest.mark.parametrize("name", ["g.png", "g.jpg", "g.tif"])
def test_gray_becomes_rgb_by_repetition(tmp_path, name):
    path = save(tmp_path / name, OPEN.convert("L"))
    np.testing.assert_array_equal(decode_image(path, 3), np.asarray(Image.open(path).convert("RGB")))


def test_palette_and_one_bit(tmp_path):
    palette = OPEN.convert("P", palette=Image.Palette.ADAPTIVE)
    for name in ("p.png", "p.gif", "p.tif"):
        path = save(tmp_path / name, palette)
        np.testing.assert_array_equal(decode_image(path, 3), np.asarray(palette.convert("RGB")))
    bits = OPEN.convert("1")
    for name, options in (("b.png", {}), ("b.tif", {}), ("fax.tif", {"compression": "group4"})):
        path = save(tmp_path / name, bits, **options)
        np.testing.assert_array_equal(decode_image(path, 1)[..., 0], np.asarray(bits) * np.uint8(255))


def test_cmyk_is_a_colour_image(tmp_path):
    cmyk = OPEN.convert("CMYK")
    jpeg = save(tmp_path / "c.jpg", cmyk, quality=95)
    np.testing.assert_array_equal(decode_image(jpeg, 3), np.asarray(Image.open(jpeg).convert("RGB")))
    tiff = decode_image(save(tmp_path / "c.tif", cmyk), 3)
    assert np.abs(tiff.astype(int) - np.asarray(cmyk.convert("RGB"))).max() <= 2
    with pytest.raises(DataError, match="can't become 4 channels"):
        decode_image(jpeg, 4)


def test_transparency_is_laid_over_white(tmp_path):
    image = OPEN.copy()
    image.putalpha(Image.fromarray(ALPHA))
    for name in ("a.png", "a.webp", "a.tif"):
        path = save(tmp_path / name, image, **({"lossless": True, "exact": True} if "webp" in name else {}))
        np.testing.assert_array_equal(decode_image(path, 3), CUT_OUT)
    half = Image.fromarray(np.dstack([np.zeros((4, 4), np.uint8), np.full((4, 4), 128, np.uint8)]), "LA")
    assert np.unique(decode_image(save(tmp_path / "la.png", half), 1)).tolist() == [127]


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (4, 1)))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = save(tmp_path / "p.png", image, transparency=2)
    assert decode_image(path, 3)[0].tolist() == [[0, 0, 0], [255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_bands_are_taken_as_they_are_where_their_number_fits(tmp_path):
    image = OPEN.copy()
    image.putalpha(Image.fromarray(ALPHA))
    path = save(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decode_image(path, 4), np.dstack([RGB, ALPHA]))


def test_sixteen_bits(tmp_path):
    wide = RGB.astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_image(write(tmp_path / "rgb.png", wide), 3), RGB)
    np.testing.assert_array_equal(
        decode_image(write(tmp_path / "g.png", wide[..., 0]), 1)[..., 0], RGB[..., 0]
    )
    np.testing.assert_array_equal(decode_image(write(tmp_path / "rgb.tif", wide, photometric="rgb"), 3), RGB)
    cv2.imwrite(str(tmp_path / "lzw.tif"), wide[..., ::-1])
    np.testing.assert_array_equal(decode_image(tmp_path / "lzw.tif", 3), RGB)
    cut = np.dstack([wide, ALPHA.astype(np.uint16) * 257])
    np.testing.assert_array_equal(decode_image(write(tmp_path / "rgba.png", cut), 3), CUT_OUT)


def test_full_range_rounds_and_knows_the_sign(tmp_path):
    values = np.array([[-32768, -32640, 0, 32767]], np.int16)
    assert decode_image(write(tmp_path / "s.tif", values), 1).ravel().tolist() == [0, 0, 128, 255]
    unsigned = np.array([[0, 128, 129, 65535]], np.uint16)
    assert decode_image(write(tmp_path / "u.tif", unsigned), 1).ravel().tolist() == [0, 0, 1, 255]


def test_percentile_and_window(tmp_path):
    values = np.arange(1000, dtype=np.uint16).reshape(10, 100)
    path = write(tmp_path / "v.tif", values)
    stretched = decode_image(path, 1, Percentile(kind="percentile", low=10.0, high=90.0))
    low, high = np.percentile(values, (10, 90))
    expected = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(stretched[..., 0], expected)
    window = decode_image(path, 1, Window(kind="window", level=500.0, width=200.0))
    assert window.ravel()[[399, 400, 500, 600, 700]].tolist() == [0, 0, 128, 255, 255]
    flat = write(tmp_path / "flat.tif", np.full((4, 4), 7, np.uint16))
    assert decode_image(flat, 1, Percentile(kind="percentile")).max() == 0


def test_eight_bits_are_never_stretched(tmp_path):
    path = save(tmp_path / "a.png", OPEN)
    np.testing.assert_array_equal(decode_image(path, 3, Percentile(kind="percentile")), RGB)


def test_floats_need_an_intensity(tmp_path):
    path = write(tmp_path / "f.tif", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(DataError, match="whose range nobody knows"):
        decode_image(path, 1, FullRange())
    decoded = decode_image(path, 1, Percentile(kind="percentile", low=0.0, high=100.0))
    assert (decoded.min(), decoded.max()) == (0, 255)
    holes = write(tmp_path / "n.tif", np.array([[0, np.nan]], np.float32))
    with pytest.raises(DataError, match="not finite"):
        decode_image(holes, 1, Percentile(kind="percentile"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["o.jpg", "o.png", "o.webp", "plain.tif", "lzw.tif"])
def test_exif_orientation_is_applied(tmp_path, name, orientation):
    tiff = name.endswith("tif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if tiff else {"exif": exif}
    if name == "lzw.tif":
        options["compression"] = "tiff_lzw"
    path = save(tmp_path / name, OPEN, **options)
    plain = save(tmp_path / f"flat.{name}", OPEN, **({"exif": exif} if not tiff else {}))
    if tiff:
        turned = OPEN.copy()
        turned.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(turned))
    else:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(plain)))
    np.testing.assert_array_equal(decode_image(path, 3), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack", "planarconfig": "contig"},
        {"photometric": "minisblack", "planarconfig": "separate"},
        {"photometric": "minisblack"},
    ],
)
def test_bands_of_a_tiff_as_samples_or_pages(tmp_path, options):
    bands = np.random.default_rng(0).integers(0, 65536, (12, 16, 13)).astype(np.uint16)
    stored = bands if options.get("planarconfig") == "contig" else np.moveaxis(bands, -1, 0)
    path = write(tmp_path / "m.tif", stored, **options)
    np.testing.assert_array_equal(decode_image(path, 13), np.rint(bands / 257))
    with pytest.raises(DataError, match=r"can't become 3 channels|holds 13 images"):
        decode_image(path, 3)


def test_smaller_levels_of_a_tiff_are_left_aside(tmp_path):
    path = write(tmp_path / "pyramid.tif", RGB, photometric="rgb")
    write(path, RGB[::2, ::2], photometric="rgb", append=True)
    np.testing.assert_array_equal(decode_image(path, 3), RGB)


def test_the_first_image_of_an_animation(tmp_path):
    frames = [OPEN.convert("L"), OPEN.convert("L").rotate(90)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(path, 1)[..., 0], GRAY)


def test_channels_are_never_guessed(tmp_path):
    with pytest.raises(DataError, match="a gray image, which can't become 13 channels"):
        decode_image(save(tmp_path / "g.png", OPEN.convert("L")), 13)
    values = np.zeros((8, 8, 5), np.uint8)
    path = write(tmp_path / "m.tif", values, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match="5 bands, which can't become 3 channels"):
        decode_image(path, 3)


@pytest.mark.parametrize("name", ["a.png", "w.png", "a.jpg", "a.tif", "lzw.tif", "a.webp", "a.gif", "a.bmp"])
def test_a_cut_file_is_reported(tmp_path, name, capfd, caplog):
    path = tmp_path / name
    if name == "w.png":
        write(path, RGB.astype(np.uint16) * 257)
    else:
        save(path, OPEN, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.DEBUG, "tifffile"), pytest.raises(DataError) as error:
        decode_image(path, 3)
    assert name in error.value.problems[0].where
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n", "not an image|can't be read")],
)
def test_what_is_no_image_is_reported(tmp_path, content, reason):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        decode_image(path, 3)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        decode_image(tmp_path / "none.png", 3)


@pytest.mark.parametrize("name", ["bomb.png", "bomb.tif"])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, name):
    path = tmp_path / name
    if name.endswith("png"):
        Image.new("1", (20_000, 20_000)).save(path)
    else:
        sparse = tifffile.memmap(path, shape=(20_000, 20_000), dtype=np.uint8)  # takes no room on disk
        del sparse
    with pytest.raises(DataError, match="decompression bomb"):
        decode_image(path, 1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif", "a.webp", "a.gif", "a.bmp"])
def test_damaged_bytes_are_never_a_bug(tmp_path, name):
    path = save(tmp_path / name, OPEN, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 400), random.integers(1, 8)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            decoded = decode_image(path, 3)
        except DataError:
            continue
        assert (decoded.dtype, decoded.shape[2]) == (np.uint8, 3)
