"""A calibrated run, its error before and after computed anew by torchmetrics."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from transferflow.errors import SpecError
from transferflow.spec.load import load_spec
from transferflow.stages.context import RunContext
from transferflow.stages.run import run_plan

CLASSES = ("blue", "green", "red")


def test_the_error_stands_beside_what_it_was_before(build_spec, tmp_path):
    training = {"epochs": 3, "batch_size": 12, "workers": 0, "device": "cpu"}
    spec = build_spec(evaluation={"bootstrap": 200, "calibrate": True}, training=training)
    prepared, trained, evaluated, registered = run_plan(spec, RunContext(tmp_path / "home"))
    temperature = json.loads((trained.folder / "history.json").read_text())["temperature"]
    assert temperature > 0
    rows = pq.read_table(evaluated.folder / "predictions.parquet").to_pylist()
    manifest = pq.read_table(prepared.folder / "manifest.parquet").to_pylist()
    truth = {row["id"]: CLASSES.index(row["labels"][0]) for row in manifest}
    target = torch.tensor([truth[row["id"]] for row in rows])
    logits = torch.tensor([row["logits"] for row in rows], dtype=torch.float64)
    error = MulticlassCalibrationError(len(CLASSES), n_bins=15, norm="l1")
    found = evaluated.summary["metrics"]["ece"]
    assert found["value"] == pytest.approx(float(error(logits.softmax(1), target)), abs=1e-4)
    before = float(error((logits * temperature).softmax(1), target))
    former = evaluated.summary["metrics"]["ece_before_calibration"]
    assert former["value"] == pytest.approx(before, abs=1e-4)
    assert former["low"] <= former["value"] <= former["high"]
    assert f"<dd>{temperature:.3f}</dd>" in Path(registered.summary["report"]).read_text()


SPEC = """
name: x
task: {{kind: {task}}}
data: {{format: {format}, root: images}}
backbone: {{source: timm, name: test_resnet, weights: none}}
evaluation: {{calibrate: true}}
{more}
"""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"task": "segmentation", "format": "mask_folder"},
            "calibrate is for classification, not segmentation",
        ),
        ({"more": "head: {kind: zero_shot}"}, "is for a head that is trained, not zero_shot"),
    ],
)
def test_what_has_nothing_to_calibrate_is_refused(tmp_path, values, said):
    values = {"task": "classification", "format": "image_folder", "more": ""} | values
    (tmp_path / "spec.yaml").write_text(SPEC.format(**values))
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml")
    assert said in str(caught.value)
