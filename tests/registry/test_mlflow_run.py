import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from transferflow.registry.mlflow_run import flat_params, safe_name


def test_params_are_flat_and_leave_out_what_is_empty():
    document = {"a": {"b": 1e-3, "c": None, "d": {}}, "e": [1, "x"], "f": True, "g": "text"}
    assert flat_params(document) == {"a.b": "0.001", "e": '[1, "x"]', "f": "true", "g": "text"}


@pytest.mark.parametrize(
    "name", ["..", ".", "a/../b", "/etc", "ä", "x\x00y", "a:b", "=" * 500, " ", "ok.name-1"]
)
def test_any_class_name_becomes_a_name_that_mlflow_takes(name):
    clean = safe_name(name)
    _validate_param_name(clean)
    _validate_metric_name(f"test/{clean}")
    assert len(clean) <= 250


def test_names_that_had_to_change_stay_apart():
    assert safe_name("a/b") != safe_name("a:b")
    assert safe_name("layer_lr") == "layer_lr"
