import pytest

from transferflow.evaluation.results import MetricValue
from transferflow.registry.base import RegistryEntry


@pytest.fixture
def make_entry(tmp_path):
    """Make an entry with a bundle of two small files; `key` tells evaluations apart."""

    def make(key="e" * 64, model="chest-xray", **changes):
        bundle = tmp_path / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "model.json").write_text('{"classes": ["a", "b"]}')
        (bundle / "weights.safetensors").write_bytes(b"\x00" * 64)
        report = tmp_path / "report.html"
        report.write_text("<p>report</p>")
        values = {
            "model": model,
            "run_name": "tiny",
            "evaluation_key": key,
            "bundle": bundle,
            "files": (report,),
            "dataset": "xrays",
            "dataset_digest": "d" * 64,
            "dataset_source": "data/xrays",
            "params": {"optimizer": {"lr": 1e-3, "layer_lr": {}}, "freeze": {"layers": ["layer1"]}},
            "metrics": {"accuracy": MetricValue(0.9, 0.8, 0.95), "loss": MetricValue(float("nan"))},
            "history": ({"train_loss": 1.0}, {"train_loss": 0.5}),
            "tags": {"train_key": "t" * 64},
            "description": "A *tiny* model.",
        }
        return RegistryEntry(**(values | changes))

    return make
