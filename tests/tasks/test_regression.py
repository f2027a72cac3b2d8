import json
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from transferflow.cli.main import app
from transferflow.data.loading.batch import Batch
from transferflow.data.snapshot.manifest import read_rows
from transferflow.errors import PlanError
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.intensity import FullRange
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import eval_transform_of
from transferflow.stages.train.stage import train
from transferflow.tasks import build
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.bundle import load_bundle, save_bundle
from transferflow.tasks.regression import SCHEMA
from transferflow.tasks.rendering.viewable import show_row

SHOW = partial(show_row, channels=3, intensity=FullRange())


def with_task(spec, **task):
    return spec.model_copy(update={"task": spec.task.model_copy(update=task)})


def numbers(snapshot, split):
    return np.array([row.number for row in read_rows(snapshot, split)])


def test_it_learns_a_number_far_from_zero_and_answers_in_its_unit(
    discs, load, build_parts, inputs_of, tmp_path
):
    snapshot = load(discs, tmp_path / "snapshot")
    assert snapshot.classes == ("size",)
    task, parts = build_parts(discs, snapshot)
    task.apply_units(parts.model, snapshot)
    losses_of = task.build_losses(snapshot)
    optimizer = torch.optim.AdamW(parts.model.parameters(), lr=3e-3)
    parts.model.train()
    batches = list(inputs_of(discs, snapshot, parts, "train", tmp_path).batches)
    for _ in range(40):
        for batch in batches:
            optimizer.zero_grad()
            losses_of(parts.model, batch)["loss"].backward()
            optimizer.step()
    table = task.predict(parts.model.eval(), inputs_of(discs, snapshot, parts, "test", tmp_path))
    assert table.schema == SCHEMA
    found = task.evaluate(SplitPredictions(table, snapshot, "test", tmp_path), resamples=50, seed=0)
    constant = np.abs(numbers(snapshot, "test") - numbers(snapshot, "train").mean()).mean()
    assert found.metrics["mae"].value < constant / 2
    assert found.metrics["r2"].value > 0.6


def test_a_head_that_starts_at_zero_answers_the_training_mean(discs, load, build_parts, inputs_of, tmp_path):
    spec = discs.model_copy(update={"head": discs.head.model_copy(update={"init": "zero"})})
    snapshot = load(spec, tmp_path / "snapshot")
    task, parts = build_parts(spec, snapshot)
    task.apply_units(parts.model, snapshot)
    transform = eval_transform_of(spec, parts.preprocessing)
    save_bundle(tmp_path / "bundle", spec, snapshot.classes, transform, parts.model, min_score=None)
    loaded = load_bundle(tmp_path / "bundle")  # the unit is part of the weights
    table = task.predict(loaded.model, inputs_of(spec, snapshot, parts, "val", tmp_path))
    assert table["value"].to_pylist() == pytest.approx([numbers(snapshot, "train").mean()] * len(table))


def test_a_frozen_backbone_trains_the_same_head_from_features_computed_once(discs, tmp_path):
    results = []
    for cache in ("auto", "off"):
        changes = {
            "freeze": {"policy": "phases", "phases": [{"epochs": 1, "train": ["head"]}]},
            "augmentation": {"preset": "none"},
            "training": discs.training.model_dump() | {"epochs": 3, "activation_cache": cache},
        }
        spec = ExperimentSpec.model_validate(discs.model_dump(mode="json", exclude_unset=True) | changes)
        context = RunContext(tmp_path / cache)
        trained = train(spec, context, prepare(spec, context))
        results.append((load_bundle(trained.folder).model.state_dict(), trained.summary["best_value"]))
        assert (context.activations.exists(), cache) in ((True, "auto"), (False, "off"))
    (cached, best), (plain, best_plain) = results
    assert cached.keys() == plain.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(cached[name], tensor, rtol=1e-4, atol=1e-5)
    assert best == pytest.approx(best_plain, rel=1e-4)


class Same(torch.nn.Module):
    """Gives the same numbers for every batch."""

    def forward(self, images):
        return torch.tensor([[103.0], [112.0], [90.0]])


@pytest.mark.parametrize(("loss", "judge"), [("mse", torch.nn.MSELoss()), ("huber", torch.nn.HuberLoss())])
def test_the_loss_is_torchs_of_standardised_numbers(discs, load, tmp_path, loss, judge):
    snapshot = load(discs, tmp_path / "snapshot")
    mean, deviation = numbers(snapshot, "train").mean(), numbers(snapshot, "train").std()
    targets = torch.tensor([104.0, 104.0, 104.0])
    losses_of = build.build_task(with_task(discs, loss=loss)).build_losses(snapshot)
    found = losses_of(Same(), Batch(torch.zeros(3, 3, 32, 32), targets, ()))["loss"]
    expected = judge((Same()(None)[:, 0] - mean) / deviation, (targets - mean) / deviation)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_worst_case_is_the_largest_error(discs, load, tmp_path):
    snapshot = load(discs, tmp_path / "snapshot")
    rows = read_rows(snapshot, "test")
    errors = np.zeros(len(rows))
    errors[[1, 3]] = 2, -5
    table = pa.table({"id": [r.id for r in rows], "value": numbers(snapshot, "test") + errors}, schema=SCHEMA)
    predictions = SplitPredictions(table, snapshot, "test", tmp_path)
    show = partial(build.build_task(discs).show_cases, predictions, SHOW)
    assert [case.lines for case in show(choice="worst", limit=5)] == [
        (rows[3].id, "error -5"),
        (rows[1].id, "error +2"),
    ]
    assert [case.image_id for case in show(choice="spread", limit=20)] == [row.id for row in rows]


def test_predict_prints_a_number_per_image(discs, load, build_parts, tmp_path):
    snapshot = load(discs, tmp_path / "snapshot")
    task, parts = build_parts(discs, snapshot)
    task.apply_units(parts.model, snapshot)
    transform = eval_transform_of(discs, parts.preprocessing)
    save_bundle(tmp_path / "bundle", discs, snapshot.classes, transform, parts.model, min_score=None)

    def run(*options):
        return CliRunner().invoke(app, ["predict", "bundle", "discs/00.png", "discs/01.png", *options])

    rows = json.loads(run("--json").stdout)
    assert [row["image"] for row in rows] == ["discs/00.png", "discs/01.png"]
    assert all(90 < row["value"] < 130 for row in rows)
    header, first, _ = run("--csv").stdout.splitlines()
    assert header == "image,value"
    assert float(first.split(",")[1]) == rows[0]["value"]
    assert f"{rows[0]['value']:.6g}" in run().stdout
    assert not (tmp_path / "predictions").exists()
    refused = run("--tile", "32").exception
    assert isinstance(refused, PlanError)
    assert "an image as a whole" in str(refused)
