"""`import transferflow as tf`: what it costs, and that its answers are those of training's own path."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transferflow as tf
from transferflow.data.files.decode import decode_image
from transferflow.inference.sources import FORMS
from transferflow.tasks.bundle import load_bundle


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Three images of different sizes, one of them turned by its EXIF data."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / name for name in ("a.png", "b.jpg", "c.tif")]
    turned = Image.Exif()
    turned[0x0112] = 6
    for number, path in enumerate(paths):
        image = Image.fromarray(random.integers(0, 256, (40 + 9 * number, 70, 3), np.uint8))
        image.save(path, **({"exif": turned} if path.suffix == ".jpg" else {}))
    return paths


@pytest.fixture(scope="module")
def models(bundles) -> dict[str, tf.Model]:
    return {task: tf.load_model(folder, device="cpu") for task, folder in bundles.items()}


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_import_and_a_spec_load_no_torch():
    spec = Path(__file__).parents[1] / "specs" / "quickstart.yaml"
    code = (
        "import sys, time; start = time.perf_counter(); import transferflow as tf; "
        "took = time.perf_counter() - start; "
        "mine = [m for m in sys.modules if m.startswith('transferflow')]; "
        f"tf.load_spec({str(spec)!r}); print(took, mine, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    took, rest = _run(code).split(maxsplit=1)
    assert float(took) < 0.3
    assert rest.strip() == "['transferflow'] False False"


def test_every_name_is_there_and_no_other():
    assert set(tf.__all__) <= set(dir(tf))
    assert all(getattr(tf, name) is not None for name in tf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        tf.load_modle  # noqa: B018


def test_every_form_of_an_image_gives_the_probabilities_of_the_eval_transform(models, bundles, files):
    bundle = load_bundle(bundles["classification"])
    pixels = [decode_image(path, 3) for path in files]
    with torch.inference_mode():
        logits = torch.cat([bundle.model(bundle.transform(image)[None]) for image in pixels])
    expected = logits.softmax(1).numpy()
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in pixels]
    with Image.open(files[1]) as turned:
        forms = {
            "paths": [*map(str, files)],
            "folder": str(files[0].parent),
            "bytes": [path.read_bytes() for path in files],
            "arrays": pixels,
            "tensors": tensors,
            "mixed": [files[0], turned, Image.open(BytesIO(files[2].read_bytes()))],
            "iterator": iter(files),
        }
        for form, images in forms.items():
            found = [[*one.probabilities.values()] for one in models["classification"].predict(images)]
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=form)


def test_one_image_a_batch_and_the_same_image_twice(models, files):
    model = models["classification"]
    image = decode_image(files[0], 3)
    (one,) = model.predict(image)
    batch = model.predict(np.stack([image, image]))
    tensor = model.predict(torch.from_numpy(np.stack([image, image])).permute(0, 3, 1, 2))
    twice = model.predict([files[0], files[0]])
    assert len(batch) == len(tensor) == len(twice) == 2
    assert {answer.image for answer in twice} == {str(files[0])}
    assert [answer.image for answer in batch] == ["image 0", "image 1"]
    for answer in (*batch, *tensor, *twice):
        assert answer.score == pytest.approx(one.score, abs=1e-6)
    assert one.labels == (max(one.probabilities, key=one.probabilities.get),)


def test_gray_arrays_are_repeated_as_gray_files_are(models, tmp_path):
    gray = np.random.default_rng(1).integers(0, 256, (50, 60), np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    model = models["classification"]
    for form in (gray, gray[..., None], torch.from_numpy(gray), torch.from_numpy(gray)[None]):
        assert model.predict(form)[0].score == model.predict(tmp_path / "gray.png")[0].score


def test_16_bits_as_an_array_are_those_of_a_file(models, tmp_path):
    wide = np.random.default_rng(1).integers(0, 65536, (50, 60)).astype(np.uint16)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    model = models["classification"]
    assert model.predict(wide)[0].probabilities == model.predict(tmp_path / "wide.png")[0].probabilities


def test_boxes_masks_and_numbers_are_typed(models, files):
    for answer, path in zip(models["detection"].predict(files), files, strict=True):
        height, width = decode_image(path, 3).shape[:2]
        assert isinstance(answer, tf.BoxPrediction)
        assert answer.size == (width, height)
        assert answer.boxes.shape == (len(answer.labels), 4)
        assert answer.boxes.dtype == np.float32
        assert list(answer.scores) == sorted(answer.scores, reverse=True)
        assert (answer.boxes[:, 2] <= width).all()
    for answer, path in zip(models["segmentation"].predict(files), files, strict=True):
        assert isinstance(answer, tf.MaskPrediction)
        assert answer.mask.shape == decode_image(path, 3).shape[:2]
        assert sum(answer.shares.values()) == pytest.approx(1)
    assert [type(answer) for answer in models["regression"].predict(files)] == [tf.NumberPrediction] * 3
    assert models["regression"].classes == ("age",)


def test_boxes_that_are_too_weak_are_left_out_and_nothing_is_no_error(models, files):
    (answer,) = models["detection"].predict(files[0], min_score=1.0)
    assert (answer.boxes.shape, answer.scores.shape, answer.labels) == ((0, 4), (0,), ())
    assert models["detection"].predict([]) == []


def test_tiles_are_for_what_lies_somewhere(models, files):
    (answer,) = models["segmentation"].predict(files[0], tile=32)
    assert answer.mask.shape == (40, 70)
    with pytest.raises(tf.TransferflowError, match="detection and segmentation"):
        models["classification"].predict(files[0], tile=32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([b"no image"], "image 0: the file is not an image"),
        ([b""], "image 0: the file is empty"),
        ("nowhere.png", "nowhere.png: the file can't be opened"),
        (np.zeros((8, 8, 3)), "image 0: its values are floating point numbers (float64)"),
        (np.zeros((8, 8, 5), np.uint8), "5 bands"),
        (np.zeros((0, 8, 3), np.uint8), "is no image"),
        (np.zeros((8, 8, 3), np.complex64), "is no image"),
        ([np.zeros(8, np.uint8)], "found: ndarray of shape (8,)"),
        ([None], "found: NoneType"),
        ([{"image": 1}], FORMS[:20]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_image_is_said(models, given, said):
    with pytest.raises(tf.TransferflowError) as caught:
        models["classification"].predict(given)
    assert said in str(caught.value)


def test_each_image_that_can_not_be_read_is_named(models, files):
    with pytest.raises(tf.TransferflowError) as caught:
        models["classification"].predict([b"x", files[0], b""])
    assert [problem.where for problem in caught.value.problems] == ["image 0", "image 2"]


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(tf.TransferflowError, match="no model 'nothing' in the registry"):
        tf.load_model("nothing", home=tmp_path)


def test_a_spec_is_planned_and_run_and_its_champion_loaded(build_spec, tmp_path, colour_folder):
    spec = build_spec(training={"epochs": 1, "batch_size": 12, "workers": 0, "device": "cpu"})
    planned = tf.plan(spec, home=tmp_path)
    assert [stage.reused for stage in planned.stages] == [False] * 4
    done = tf.run(spec, home=str(tmp_path))
    assert (done.model, done.version, done.verdict) == ("colours", 1, "PROMOTE")
    assert 0 <= done.metrics["accuracy"].low <= done.metrics["accuracy"].value <= 1
    assert done.report.is_file()
    image = colour_folder / "red" / "00.png"
    by_name = tf.load_model("colours", home=tmp_path).predict(image)
    assert by_name == tf.load_model("models:/colours@champion", home=tmp_path).predict(image)
    assert by_name == tf.load_model(done.bundle).predict(image)
