"""Thresholds and prediction sets from the spec to the answer: trained, kept, measured, told."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, recall_score

import transferflow as tf
from transferflow.errors import PlanError, SpecError
from transferflow.inference.export_notes import describe_graph
from transferflow.serving.as_json import answer_json
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.names import require_known_classes
from transferflow.stages.run import run_plan
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import load_bundle

TRAINING = {"epochs": 1, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"}


def run(spec, home):
    context = RunContext(home)
    return run_plan(spec, context)


def truth_of(prepared, classes):
    rows = pq.read_table(prepared.folder / "manifest.parquet").to_pylist()
    return {row["id"]: [name in row["labels"] for name in classes] for row in rows}


def columns_of(evaluated, *names):
    table = pq.read_table(evaluated.folder / "predictions.parquet")
    return table["id"].to_pylist(), *(np.array(table[name].to_pylist()) for name in names)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run on images with several labels each, with a threshold per label."""
    root = tmp_path_factory.mktemp("several")
    random = np.random.default_rng(0)
    lines = ["path,label"]
    for number in range(60):
        red, blue = random.random(2) < 0.5
        noise = random.integers(0, 120, (32, 32, 3))
        pixels = np.clip(noise + np.array([120 * red, 0, 120 * blue]), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{number:02}.png")
        names = [name for name, there in (("red", red), ("blue", blue)) if there]
        lines.append(f"{number:02}.png,{'|'.join(names)}")
    (root / "a.csv").write_text("\n".join(lines))
    spec = ExperimentSpec.model_validate(
        {
            "name": "several",
            "task": {"kind": "classification", "multilabel": True},
            "data": {
                "format": "csv",
                "root": str(root),
                "file": "a.csv",
                "image_size": 32,
                "split": {"train": 0.4, "val": 0.3, "test": 0.3},
            },
            "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
            "augmentation": {"preset": "none"},
            "training": TRAINING,
            "evaluation": {
                "bootstrap": 50,
                "thresholds": {"choose": "sensitivity", "at_least": 0.9},
                "baselines": [],
            },
        }
    )
    return root, spec, run(spec, root / "home")


def test_what_is_said_goes_by_thresholds_of_the_bundle(several):
    root, _, (prepared, trained, evaluated, registered) = several
    classes = load_bundle(trained.folder).classes
    chosen = json.loads((trained.folder / "history.json").read_text())["thresholds"]
    assert set(chosen) == set(classes)
    ids, probabilities, decided = columns_of(evaluated, "probabilities", "decided")
    assert (decided == (probabilities >= np.array([chosen[name] for name in classes]))).all()
    assert (decided != (probabilities >= 0.5)).any()  # an untrained model: 0.5 is another answer
    truth = truth_of(prepared, classes)
    right = np.array([truth[image] for image in ids])
    evaluation = read_evaluation(evaluated.folder)
    assert evaluation.metrics["accuracy"].value == pytest.approx((right == decided).mean())
    assert evaluation.metrics["macro_f1"].value == pytest.approx(f1_score(right, decided, average="macro"))
    for number, one in enumerate(evaluation.thresholds):
        assert one.sensitivity.value == pytest.approx(recall_score(right[:, number], decided[:, number]))
        specificity = recall_score(~right[:, number], ~decided[:, number])
        assert one.specificity.value == pytest.approx(specificity)
    page = (registered.folder / "report.html").read_text()
    assert '<a href="#decisions">' in page
    assert "is said from" in (registered.folder / "README.md").read_text()
    model = tf.load_model(trained.folder, device="cpu")
    for image, said in list(zip(ids, decided, strict=True))[:4]:
        (answer,) = model.predict(root / image)
        assert answer.labels == tuple(name for name, flag in zip(classes, said, strict=True) if flag)
    bundle = load_bundle(trained.folder)
    graph = build_task(bundle.spec).build_graph(bundle.model)
    told = describe_graph(bundle, graph, "images", normalise=False, any_size=False)
    assert told["thresholds"] == pytest.approx(chosen)


def test_sets_and_a_threshold_of_two_classes(build_spec, tmp_path, colour_folder):
    for image in (colour_folder / "blue").iterdir():
        image.unlink()
    (colour_folder / "blue").rmdir()
    spec = build_spec(
        training=TRAINING,
        evaluation={
            "bootstrap": 50,
            "conformal": 0.8,
            "thresholds": {"choose": "specificity", "at_least": 0.9},
            "baselines": [],
        },
    )
    prepared, trained, evaluated, registered = run(spec, tmp_path / "home")
    classes = load_bundle(trained.folder).classes
    ids, probabilities, decided, plausible = columns_of(evaluated, "probabilities", "decided", "plausible")
    chosen = json.loads((trained.folder / "history.json").read_text())["thresholds"]
    second = probabilities[:, 1] >= chosen[classes[1]]
    assert (decided == np.stack([~second, second], axis=1)).all()
    truth = truth_of(prepared, classes)
    right = np.array([truth[image] for image in ids])
    evaluation = read_evaluation(evaluated.folder)
    assert evaluation.metrics["accuracy"].value == accuracy_score(right.argmax(1), second.astype(int))
    assert evaluation.sets.coverage.value == pytest.approx((plausible & right).any(axis=1).mean())
    assert (
        "Prediction sets should hold the right class in 80.0%"
        in (registered.folder / "report.html").read_text()
    )
    (answer,) = tf.load_model(trained.folder, device="cpu").predict(colour_folder / ids[0])
    assert answer.labels == (classes[int(second[0])],)
    assert answer.plausible == tuple(n for n, flag in zip(classes, plausible[0], strict=True) if flag)
    assert answer_json(answer)["plausible"] == list(answer.plausible)


def test_more_than_two_classes_have_no_threshold(build_spec):
    spec = build_spec(evaluation={"thresholds": {"choose": "f1"}})
    require_known_classes(spec, ("a", "b"))
    with pytest.raises(PlanError) as raised:
        require_known_classes(spec, ("a", "b", "c"))
    assert "3 classes, of which an image has one" in str(raised.value)


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"thresholds": {"choose": "f1", "at_least": 0.9}}, "`at_least` goes with"),
        ({"thresholds": {"choose": "sensitivity"}}, "`at_least` goes with"),
        ({"conformal": 0.4}, "0.5"),
    ],
)
def test_what_makes_no_sense_is_refused(build_spec, evaluation, said):
    with pytest.raises((SpecError, ValueError)) as raised:
        build_spec(evaluation=evaluation)
    assert said in str(raised.value)
