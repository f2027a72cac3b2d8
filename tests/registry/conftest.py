import pytest

from transferflow.evaluation.results import MetricValue
from transferflow.registry.base import RegistryEntry
from transferflow.tasks.bundle_files import write_description


def _make_entry(folder, key, model, changes):
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "weights.safetensors").write_bytes(b"\x00" * 64)
    write_description(bundle, {"classes": ["a", "b"]})
    report = folder / "report.html"
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


@pytest.fixture
def make_entry(tmp_path):
    """Make an entry with a bundle of two small files; `key` tells evaluations apart."""

    def make(key="e" * 64, model="chest-xray", **changes):
        return _make_entry(tmp_path, key, model, changes)

    return make


@pytest.fixture(scope="module")
def make_shared_entry(tmp_path_factory):
    """The same for homes that several tests share."""
    folder = tmp_path_factory.mktemp("entry")

    def make(key="e" * 64, model="chest-xray", **changes):
        return _make_entry(folder, key, model, changes)

    return make
