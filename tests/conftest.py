"""Parts that tests of several folders share: small, real image folders and specs on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from transferflow.data.listing import load_listing
from transferflow.data.records import DatasetSnapshot
from transferflow.data.snapshot.build import build_snapshot
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.data import Data
from transferflow.spec.sections.task import Task
from transferflow.spec.sections.truth import Truth

COCO = {"format": "coco", "annotations": "a.json"}
TINY_FCOS = {"kind": "fcos", "pyramid_channels": 64, "score_threshold": 0.0, "detections_per_image": 4}
UNTRAINED: dict[str, tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    "classification": (("cat", "dog"), {"kind": "linear"}, {"format": "image_folder"}),
    "detection": (("cat", "dog"), TINY_FCOS, COCO),
    "segmentation": (("background", "cat", "dog"), {"kind": "lite"}, COCO),
    "regression": (("age",), {"kind": "linear"}, {"format": "csv", "file": "a.csv"}),
}
"""Classes, head and data of a tiny model per task."""
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


@pytest.fixture
def colour_folder(tmp_path: Path) -> Path:
    """Three classes of 20 noisy images of one colour each: easy to learn, cheap to train."""
    return _draw_colours(tmp_path / "colours")


def _draw_colours(root: Path) -> Path:
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(20):
            noise = random.integers(-40, 40, (36, 36, 3))
            image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture
def build_spec(colour_folder: Path) -> Callable[..., ExperimentSpec]:
    """Build a tiny classification spec; keyword arguments replace whole sections."""

    def build(**sections: Any) -> ExperimentSpec:
        return ExperimentSpec.model_validate(_document(colour_folder) | sections)

    return build


def _document(root: Path) -> dict[str, Any]:
    return {
        "name": "colours",
        "task": {"kind": "classification"},
        "data": {
            "format": "image_folder",
            "root": str(root),
            "image_size": 32,
            "split": {"train": 0.6, "val": 0.2, "test": 0.2},
        },
        "backbone": {"source": "timm", "name": "test_resnet", "weights": "none"},
        "optimizer": {"lr": 3e-3},
        "augmentation": {"preset": "none"},
        "training": {"epochs": 2, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"},
        "evaluation": {"bootstrap": 200},
    }


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with two runs of a spec, the second at another rate, on another split, through a whole gate.

    Nothing may be changed in it.
    """
    from transferflow.stages.context import RunContext
    from transferflow.stages.run import run_plan

    folder = tmp_path_factory.mktemp("two-runs")
    root = _draw_colours(folder / "colours")
    lines = [f"{path.relative_to(root)},{'AB'[int(path.stem) % 2]}" for path in sorted(root.glob("*/*"))]
    (root / "metadata.csv").write_text("\n".join(["path,site", *lines]))
    first = _document(root)
    gate = {
        "against_champion": {"mode": "non_inferior", "margin": 0.5, "family_error": 0.05, "horizon": 4},
        "also": [{"metric": "macro_f1", "minimum": 0.0, "against_champion": {"margin": 0.0}}],
        "per_class_floor": {"recall": 0.0},
        "max_ece": 1.0,
        "max_size_mb": 100.0,
        "max_latency_ms": 60000.0,
        "slices": {"by": "site", "minimum": 0.0},
    }
    second = first | {
        "optimizer": {"lr": 1e-4},
        "data": first["data"] | {"split": {"train": 0.4, "val": 0.2, "test": 0.4, "seed": 1}},
        "evaluation": first["evaluation"] | {"slices": [{"by": "site"}, {"by": "image_size"}]},
        "registration": {"gate": gate},
    }
    context = RunContext(folder / "home")
    return context, [run_plan(ExperimentSpec.model_validate(one), context) for one in (first, second)]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of each task, whose model was never trained."""
    from transferflow.stages.split_images import eval_transform_of
    from transferflow.tasks.build import build_parts
    from transferflow.tasks.bundle import save_bundle

    folders = {}
    for task, (classes, head, data) in UNTRAINED.items():
        document = {
            "name": "tiny",
            "task": {"kind": task},
            "data": {"root": ".", "image_size": 64, **data},
            "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
            "head": head,
        }
        spec = ExperimentSpec.model_validate(document)
        parts = build_parts(spec, classes, pretrained=False)
        folders[task] = tmp_path_factory.mktemp(task)
        transform = eval_transform_of(spec, parts.preprocessing)
        save_bundle(folders[task], spec, classes, transform, parts.model, min_score=0.0)
    return folders


@pytest.fixture
def data_section() -> Callable[..., Data]:
    """Build a `data` section from keywords."""
    return lambda **fields: TypeAdapter(Data).validate_python(fields)


@pytest.fixture
def truth_of() -> Callable[..., Truth]:
    """What a task learns from, by its kind and keywords."""
    return lambda kind="classification", **fields: (
        TypeAdapter(Task).validate_python({"kind": kind, **fields}).truth
    )


@pytest.fixture
def snapshot_of(data_section, truth_of, tmp_path_factory) -> Callable[..., DatasetSnapshot]:
    """Build a snapshot of a folder in a new folder."""

    def run(
        root: Path,
        task: str = "classification",
        *,
        previous: DatasetSnapshot | None = None,
        workers: int = 1,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> DatasetSnapshot:
        data, chosen = data_section(root=str(root), **fields), truth_of(task, **(options or {}))
        folder = tmp_path_factory.mktemp("snapshot")
        listing = load_listing(data, chosen)
        return build_snapshot(data, chosen, listing, folder, previous=previous, workers=workers)

    return run


def _make_entry(folder: Path, key: str, model: str, changes: dict[str, Any]) -> Any:
    from transferflow.evaluation.results import MetricValue
    from transferflow.registry.base import RegistryEntry
    from transferflow.tasks.bundle_files import write_description

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


@pytest.fixture(scope="session")
def entry_in() -> Callable[..., Any]:
    """What to register, from files in a folder."""
    return _make_entry


@pytest.fixture
def make_entry(tmp_path: Path) -> Callable[..., Any]:
    """Make an entry with a bundle of two small files; `key` tells evaluations apart."""

    def make(key: str = "e" * 64, model: str = "chest-xray", **changes: Any) -> Any:
        return _make_entry(tmp_path, key, model, changes)

    return make


@pytest.fixture(scope="session")
def template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose database has its tables: making them takes seconds."""
    from transferflow.registry.own_database import make_ready

    home = tmp_path_factory.mktemp("template")
    make_ready(home / "mlflow")
    return home


@pytest.fixture
def registry(template_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty registry in a home of its own, `home with spaces`."""
    from transferflow.registry.mlflow_registry import MlflowRegistry

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = tmp_path / "home with spaces"
    (home / "mlflow").mkdir(parents=True)
    for name in ("mlflow.db", "mlflow.version"):
        shutil.copy(template_home / "mlflow" / name, home / "mlflow" / name)
    return MlflowRegistry(home)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of an S3 server on this machine."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def data_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of remote data of its own."""
    from transferflow.data.remote import copies

    monkeypatch.setenv("TRANSFERFLOW_DATA_CACHE", str(tmp_path / "data-cache"))
    monkeypatch.setattr(copies, "_held", {})
    return tmp_path / "data-cache"


@pytest.fixture
def bucket(
    s3_server: str, data_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """An empty bucket `photos`: its file system, which anything on `s3://photos` then finds as well."""
    import s3fs

    logins = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": s3_server}
    for name, value in logins.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-such-file"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir("photos")
    yield system
    system.rm("photos", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
