"""What a task costs: a toy goes the whole way through the protocol; the places of a real one are counted."""

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch.nn.functional as F

from transferflow.data.snapshot.manifest import read_rows
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Panel, Picture, pick_cases
from transferflow.evaluation.regression import build_regression_statistic, evaluate_regression
from transferflow.evaluation.statistics.comparison import compare_paired
from transferflow.models.classifier import ImageClassifier
from transferflow.stages.context import RunContext
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.job import build_training_images, compile_job
from transferflow.stages.train.settings import loop_settings
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.alignment import align_same
from transferflow.tasks.base import EpochMeasure, ImagePredictions, SplitPredictions, VisionTask
from transferflow.tasks.graphs import Graph
from transferflow.tasks.losses import Losses
from transferflow.tasks.output.numbers import NumberOutput
from transferflow.tasks.rendering.viewable import show_row
from transferflow.tasks.whole_image import build_on_backbone, predict_images
from transferflow.training.loop.run import train

ROOT = Path(__file__).parents[2]
PLACES = {
    "transferflow/__init__.py": "the new form of answer, for who writes types",
    "transferflow/data/checks/labels.py": "words of the new form of truth; the type checker asks",
    "transferflow/data/loading/targets.py": "targets of the new form of truth; the type checker asks",
    "transferflow/data/loading/target_checks.py": "what targets of a batch must be; the type checker asks",
    "transferflow/evaluation/regression.py": "its measures",
    "transferflow/models/detection/generic.py": "another regression: that of a detector's boxes",
    "transferflow/report/figures/by_name.py": "its figure; the type checker asks",
    "transferflow/serving/as_json.py": "the new form of answer as JSON; the type checker asks",
}
"""Files outside of `tasks` and `spec` that name regression, and why. One more is a decision."""
NAMES = re.compile(r"(?i:(^|[._])regression($|[._]))|^Regression|^Number(Truth|Output|Prediction)$")


class Place:
    """A toy: how far down the list of classes an image stands, as one number."""

    traits = ReportTraits(figures=("truth_and_prediction",), class_note="")

    def __init__(self):
        self.output = NumberOutput()

    def build_model(self, backbone, data, classes, *, seed, pretrained, device="cpu"):
        head = partial(ImageClassifier, num_classes=1)
        return build_on_backbone(backbone, data, head, seed=seed, pretrained=pretrained, device=device)

    def apply_units(self, model, snapshot):
        pass

    def build_losses(self, snapshot):
        def losses(model, batch):
            return {"loss": F.mse_loss(model(batch.images).float().squeeze(1), batch.targets.float())}

        return Losses(losses)

    def predict(self, model, inputs):
        ids, found = predict_images(model, inputs, 1)
        return pa.table({"id": ids, "value": found.double().squeeze(1).tolist()})

    def build_graph(self, model):
        return Graph(model, (("place", "N x 1"),))

    def build_measure(self, snapshot, rows, watched):
        truth = np.array([float(snapshot.classes.index(row.labels[0])) for row in rows])

        def measure(table):
            return {"mae": np.abs(np.array(table["value"].to_pylist()) - truth).mean()}

        return EpochMeasure(self.predict, measure)

    def _pairs(self, predictions):
        rows, classes = read_rows(predictions.snapshot, predictions.split), predictions.snapshot.classes
        truth = [float(classes.index(row.labels[0])) for row in rows]
        return np.array(predictions.table["value"].to_pylist()), np.array(truth)

    def evaluate(self, predictions, *, resamples, seed):
        return evaluate_regression(
            *self._pairs(predictions), "place", metrics=("mae", "r2"), bootstrap=resamples, seed=seed
        )

    def build_statistic(self, predictions, metric):
        statistic = build_regression_statistic(*self._pairs(predictions), [metric])
        return lambda weights: statistic(weights)[:, 0]

    def align_classes(self, old, new):
        return align_same(old, new)

    def show_cases(self, predictions, show, *, choice, limit, min_score=None):
        found, truth = self._pairs(predictions)
        rows = read_rows(predictions.snapshot, predictions.split)
        chosen = pick_cases(choice, -np.abs(found - truth), limit)
        return [Picture((Panel(show(rows[n])),), f"{found[n]:.2f}") for n in chosen]

    def answered_classes(self, table):
        return None


def methods_of(protocol):
    """Names that a protocol and those that it joins ask for."""
    return {name for base in protocol.__mro__ for name in vars(base) if not name.startswith("_")}


def test_the_toy_has_what_a_task_has():
    assert methods_of(VisionTask) <= {*vars(Place), "output"}


@pytest.fixture
def setting(build_spec, load, tmp_path):
    spec = build_spec()
    snapshot = load(spec, tmp_path / "snapshot")
    parts = Place().build_model(spec.backbone, spec.data, snapshot.classes, seed=0, pretrained=True)
    transform = eval_transform_of(spec, parts.preprocessing)
    images = {
        split: build_split_images(spec, snapshot, split, transform, tmp_path / "cache")
        for split in ("val", "test")
    }
    return spec, snapshot, parts, images


def test_a_task_that_nobody_knows_trains_predicts_and_is_compared(setting, tmp_path):
    spec, snapshot, parts, images = setting
    task = Place()
    before = images["test"].predict(task, parts.model.eval(), snapshot.classes, tmp_path)
    job = compile_job(
        spec,
        task,
        parts,
        compile_training_plan(spec, parts),
        build_training_images(spec, images["val"], tmp_path / "cache"),
        settings=loop_settings(spec),
        context=RunContext(tmp_path / "home"),
        folder=tmp_path / "work",
        hooks=(),
    )
    # Which metric chooses the epoch is the spec's to say, and the spec knows the four tasks alone.
    job = replace(job, settings=replace(job.settings, metric="mae", lower_is_better=True, epochs=6))
    result = train(job)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    after = images["test"].predict(task, parts.model, snapshot.classes, tmp_path)
    found = task.evaluate(after, resamples=20, seed=0)
    assert found.metrics["mae"].value == pytest.approx(np.abs(np.subtract(*task._pairs(after))).mean())
    assert found.metrics["mae"].low is not None
    compared = compare_paired(
        task.build_statistic(before, "mae"),
        task.build_statistic(after, "mae"),
        images=snapshot.counts["test"],
        resamples=100,
        seed=0,
    )
    assert compared.difference < 0


def test_a_task_that_nobody_knows_is_shown_and_printed(setting, tmp_path):
    spec, snapshot, _, _ = setting
    task = Place()
    rows = read_rows(snapshot, "test")
    table = pa.table({"id": [row.id for row in rows], "value": [float(n) for n in range(len(rows))]})
    found = SplitPredictions(table, snapshot, "test", tmp_path)
    show = partial(show_row, channels=3, intensity=spec.data.intensity)
    worst, next_worst = task.show_cases(found, show, choice="worst", limit=2)
    assert (worst.title, next_worst.title) == (f"{len(rows) - 1:.2f}", f"{len(rows) - 2:.2f}")
    sizes = {row.id: (row.width, row.height) for row in rows}
    printed = task.output.rows(ImagePredictions(table, sizes, snapshot.classes, tmp_path))
    assert [row["value"] for row in printed] == table["value"].to_pylist()


def names_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(module=str(name)) | ast.Constant(value=str(name)):
                yield name


def test_the_places_that_name_regression_are_these():
    found = {
        str(file.relative_to(ROOT))
        for root in ("transferflow", "pipelines")
        for file in (ROOT / root).rglob("*.py")
        if file.relative_to(ROOT).parts[1] not in ("tasks", "spec")
        and any(map(NAMES.search, names_in(file.read_text())))
    }
    assert found == set(PLACES)
