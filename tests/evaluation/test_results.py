from __future__ import annotations

import json
import math

import pytest

from transferflow.errors import EvaluationError
from transferflow.evaluation.curves import Curves, RocCurve
from transferflow.evaluation.results import Evaluation, MetricValue, evaluation_to_json, load_evaluation


def test_an_evaluation_survives_the_disk_with_its_nans():
    evaluation = Evaluation(
        metrics={"accuracy": MetricValue(0.9, 0.8, 0.95), "auroc": MetricValue(math.nan, reason="one class")},
        per_class={"<b>": {"f1": math.nan, "support": 0.0}},
        images=12,
        curves=Curves(roc=[RocCurve("a", [0.0, 1.0], [0.5, 1.0], 0.75)]),
    )
    text = evaluation_to_json(evaluation)
    assert "NaN" not in text
    again = load_evaluation(text)
    assert again.metrics["accuracy"] == evaluation.metrics["accuracy"]
    assert math.isnan(again.metrics["auroc"].value)
    assert again.metrics["auroc"].reason == "one class"
    assert math.isnan(again.per_class["<b>"]["f1"])
    assert again.curves == evaluation.curves
    assert evaluation_to_json(again) == text


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"metrics": {"a": 1}}), '{"metrics": null}'])
def test_a_damaged_file_is_an_error_with_a_way_out(text):
    with pytest.raises(EvaluationError, match="can't be read"):
        load_evaluation(text)


def test_curves_in_another_form_are_refused():
    document = json.loads(evaluation_to_json(Evaluation({}, {}, 1)))
    document["curves"] = {"roc": [{"name": "a"}]}
    with pytest.raises(EvaluationError, match="can't be read"):
        load_evaluation(json.dumps(document))
