import math
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch

from transferflow.data.formats.masks import mask_files_of
from transferflow.data.loading.batch import Batch
from transferflow.data.snapshot.manifest import read_rows
from transferflow.data.snapshot.pixels import read_true_mask
from transferflow.errors import EvaluationError, PlanError
from transferflow.spec.sections.intensity import Percentile
from transferflow.tasks.base import PredictionInputs, SplitPredictions
from transferflow.tasks.build import build_parts, build_task
from transferflow.tasks.rendering.mask_files import read_mask, write_mask
from transferflow.tasks.rendering.viewable import show_row
from transferflow.tasks.segmentation import SCHEMA
from transferflow.tasks.segmentation_answers import classify_pixels
from transferflow.tasks.segmentation_truth import pixel_weights

SHOW = partial(show_row, channels=1, intensity=Percentile(kind="percentile"))


def test_trains_predicts_and_is_measured_at_the_original_size(cells, load, build_parts, inputs_of, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    task, parts = build_parts(cells, snapshot)
    losses_of = task.build_losses(snapshot)
    optimizer = torch.optim.AdamW(parts.model.parameters(), lr=2e-3)
    parts.model.train()
    for _ in range(12):
        for batch in inputs_of(cells, snapshot, parts, "train", tmp_path).batches:
            losses = losses_of(parts.model, batch)
            assert set(losses) == {"cross_entropy", "dice", "auxiliary"}
            assert all(math.isfinite(value.item()) for value in losses.values())
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
    parts.model.eval()
    folder = tmp_path / "masks"
    table = task.predict(parts.model, inputs_of(cells, snapshot, parts, "test", folder))
    assert table.schema == SCHEMA
    for row in table.to_pylist():
        assert read_mask(folder, row["mask"]).shape == (48, 64)
    predictions = SplitPredictions(table, snapshot, "test", folder)
    found = task.evaluate(predictions, resamples=50, seed=0)
    assert found.metrics["miou"].value > 0.75
    assert found.metrics["miou"].low <= found.metrics["miou"].value <= found.metrics["miou"].high
    assert found.images == 3


def test_classes_from_the_data_are_no_ignored_pixels(cells):
    spec = cells.model_copy(update={"task": cells.task.model_copy(update={"ignore_index": 1})})
    with pytest.raises(PlanError, match="1 is the value of the class cell") as error:
        build_parts(spec, ("background", "cell"), pretrained=False, device="meta")
    assert error.value.problems[0].where == "task.ignore_index"


def answer(snapshot, folder, change=lambda number, mask: mask):
    files = mask_files_of(snapshot, 255)
    rows = [
        {"id": row.id, "mask": write_mask(folder, row.id, change(n, read_true_mask(files, row)))}
        for n, row in enumerate(read_rows(snapshot, "test"))
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def without_ignored(number, mask):
    return np.where(mask == 255, 0, mask).astype(np.uint8)


def test_a_perfect_answer_is_perfect_whatever_stands_in_ignored_pixels(cells, load, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    task = build_task(cells)
    table = answer(snapshot, tmp_path, without_ignored)
    predictions = SplitPredictions(table, snapshot, "test", tmp_path)
    found = task.evaluate(predictions, resamples=0, seed=0)
    assert found.metrics["miou"].value == 1
    statistic = task.build_statistic(predictions, "dice")
    assert statistic(np.ones((2, 3))) == pytest.approx([1, 1])
    assert task.show_cases(predictions, SHOW, choice="worst", limit=4) == []


def test_the_worst_case_comes_first_with_its_truth(cells, load, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    task = build_task(cells)
    table = answer(snapshot, tmp_path, lambda n, mask: without_ignored(n, mask) if n == 0 else mask * 0)
    cases = task.show_cases(
        SplitPredictions(table, snapshot, "test", tmp_path), SHOW, choice="worst", limit=1
    )
    assert len(cases) == 1
    labels = [panel.label for panel in cases[0].panels]
    assert labels == ["image", "truth (hatched: ignored)", "prediction"]
    assert cases[0].lines[0] in {row.id for row in read_rows(snapshot, "test")[1:]}
    spread = task.show_cases(
        SplitPredictions(table, snapshot, "test", tmp_path), SHOW, choice="spread", limit=9
    )
    assert [case.lines[0] for case in spread] == [row.id for row in read_rows(snapshot, "test")]


def test_an_image_without_a_prediction_is_an_error(cells, load, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    table = answer(snapshot, tmp_path, without_ignored).slice(1)
    with pytest.raises(EvaluationError, match="no predicted mask"):
        build_task(cells).evaluate(SplitPredictions(table, snapshot, "test", tmp_path), resamples=0, seed=0)


@pytest.mark.parametrize("how", ["balanced", {"cell": 3.0}, None])
def test_class_weights(how, cells, load, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    found = pixel_weights(how, snapshot, 255)
    if how is None:
        assert found is None
    elif how == "balanced":
        cell = 22 * 24 / (47 * 64)
        assert found.tolist() == pytest.approx([0.5 / (1 - cell), 0.5 / cell])
    else:
        assert found.tolist() == [1, 3]


class Letterboxed:
    """A transform that puts a 20 x 10 image into the upper half of a 10 x 10 square."""

    def resized(self, size):
        return (5, 10)


def test_padding_is_cut_off_before_scores_are_led_back():
    scores = torch.zeros(2, 10, 10)
    scores[1, :5, 5:] = 4
    scores[1, 5:] = 100  # the padding must not leak into the image
    inputs = PredictionInputs([], {"a": (20, 10)}, Letterboxed(), ("x", "y"), None)
    mask = classify_pixels(scores, inputs, "a")
    assert mask.shape == (10, 20)
    assert (mask[:, :9] == 0).all()
    assert (mask[:, 11:] == 1).all()


def test_a_batch_of_ignored_pixels_alone_trains_nothing(cells, load, build_parts, tmp_path):
    snapshot = load(cells, tmp_path / "snapshot")
    task, parts = build_parts(cells, snapshot)
    batch = Batch(torch.randn(2, 1, 64, 64), torch.full((2, 64, 64), 255), ("a", "b"))
    losses = task.build_losses(snapshot)(parts.model.train(), batch)
    assert sum(losses.values()).item() == 0
