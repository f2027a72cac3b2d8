"""Baselines on real features, held against scikit-learn; what a scratch training is; what stands where."""

import logging
import re

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neighbors import KNeighborsClassifier

from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import WeightsError
from transferflow.spec.deciding import decide_baselines
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.baselines import measure_baselines, random_start
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.tasks.build import build_parts

PACKAGE = {"source": "package", "name": "tf_efficientnet_lite0"}


def features_of(spec, context, snapshot, split):
    """Features and labels image by image, without any cache."""
    parts = build_parts(spec, snapshot.classes, pretrained=True)
    backbone = parts.model.backbone.eval()
    images = build_split_images(
        spec, snapshot, split, eval_transform_of(spec, parts.preprocessing), context.decoded_images
    )
    with torch.no_grad():
        found = [(backbone(batch.images), batch.targets) for batch in images.loader.epoch(0)]
    return tuple(torch.cat(column).numpy() for column in zip(*found, strict=True))


def test_probes_answer_as_scikit_learns_on_the_same_features(build_spec, tmp_path, caplog):
    spec = build_spec(backbone=PACKAGE, evaluation={"bootstrap": 50})
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"epochs": 3})})
    context = RunContext(tmp_path / "home")
    prepared = prepare(spec, context)
    snapshot = load_snapshot(prepared.folder)
    assert decide_baselines(spec) == ("majority", "knn", "linear_probe", "champion")
    found = measure_baselines(spec, context, snapshot, prepared, tmp_path)
    assert list(found) == ["majority", "knn", "linear_probe"]
    (train, labels), (test, truth) = (features_of(spec, context, snapshot, s) for s in ("train", "test"))
    prior = DummyClassifier(strategy="prior").fit(train, labels)
    assert found["majority"]["accuracy"].value == accuracy_score(truth, prior.predict(test))
    votes = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    votes.fit(train.astype(np.float64), labels)
    assert found["knn"]["accuracy"].value == accuracy_score(truth, votes.predict(test.astype(np.float64)))
    assert found["linear_probe"]["accuracy"].value == 1.0  # colours are easy
    assert log_loss(labels, prior.predict_proba(train)) > 1
    for metrics in found.values():
        assert metrics["accuracy"].low <= metrics["accuracy"].value <= metrics["accuracy"].high
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert measure_baselines(spec, context, snapshot, prepared, tmp_path) == found
    assert "features of" in caplog.text
    assert "computing" not in caplog.text  # out of the activation cache


def test_lacking_weights_leave_out_what_nobody_asked_for(build_spec, tmp_path, monkeypatch):
    def lost(*_):
        raise WeightsError("the weights are gone")

    monkeypatch.setattr("transferflow.stages.evaluate.baselines.compute_features", lost)
    training = {"epochs": 3, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"}
    for asked in (None, ["knn"]):
        spec = build_spec(
            backbone=PACKAGE, training=training, evaluation={"bootstrap": 0, "baselines": asked}
        )
        context = RunContext(tmp_path / "home")
        prepared = prepare(spec, context)
        given = (spec, context, load_snapshot(prepared.folder), prepared, tmp_path)
        if asked is None:
            assert list(measure_baselines(*given)) == ["majority"]
        else:
            with pytest.raises(WeightsError):
                measure_baselines(*given)


def test_from_scratch_is_the_same_recipe_without_what_was_pretrained(build_spec, tmp_path):
    training = {"epochs": 1, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"}
    spec = build_spec(
        backbone={"source": "timm", "name": "test_resnet"},
        freeze={"policy": "until", "until": "layer1"},
        optimizer={"lr": 3e-3, "layer_lr": {"layer2": 1e-4}},
        head={"kind": "linear", "init": "prototypes", "dropout": 0.1},
        training=training,
        evaluation={"bootstrap": 50, "baselines": ["from_scratch"]},
    )
    scratch = random_start(spec)
    assert (scratch.backbone.weights, scratch.freeze.policy, scratch.head.init) == ("none", "none", "default")
    assert (scratch.optimizer.lr, scratch.optimizer.layer_lr, scratch.head.dropout) == (3e-3, {}, 0.1)
    assert scratch.training == spec.training
    context = RunContext(tmp_path / "home")
    prepared = prepare(spec, context)
    found = measure_baselines(spec, context, load_snapshot(prepared.folder), prepared, tmp_path)
    assert 0 <= found["from_scratch"]["accuracy"].value <= 1
    assert len(list((tmp_path / "home" / "artifacts" / "train").iterdir())) == 1  # kept, and reused
    assert measure_baselines(spec, context, load_snapshot(prepared.folder), prepared, tmp_path) == found


def test_a_package_is_built_anew_by_the_library_that_knows_it(build_spec):
    scratch = random_start(build_spec(backbone=PACKAGE))
    assert (scratch.backbone.source, scratch.backbone.name) == ("timm", "tf_efficientnet_lite0")


def test_a_run_shows_what_it_was_measured_beside(two_runs):
    """Without pretrained weights: the majority, and the champion on the images that neither has seen."""
    _, (_, (_, _, evaluated, registered)) = two_runs
    evaluation = read_evaluation(evaluated.folder)
    assert list(evaluation.baselines) == ["majority"]
    assert evaluated.summary["baselines"]["majority"] == evaluation.baselines["majority"]["accuracy"].value
    page = (registered.folder / "report.html").read_text()
    reasons = "\n".join(registered.summary["reasons"])
    value = re.search(r"accuracy against the champion \(version 1, ([\d.]+)\)", reasons)[1]
    row = re.search(r"<td>champion \(version 1, [^<]*</td>\s*<td[^>]*>([\d.]+)<", page)
    assert float(row[1]) == pytest.approx(float(value), abs=5e-4)
    assert "<td>this model</td>" in page
    assert "| majority |" in (registered.folder / "README.md").read_text()
