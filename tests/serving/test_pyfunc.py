"""A registered version as MLflow's own model: loaded by its name, and behind `mlflow models serve`."""

import base64
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import pytest

import transferflow as tf
from transferflow.errors import DataError
from transferflow.registry.mlflow_flavour import LOADER
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.serving import pyfunc
from transferflow.serving.as_json import answer_json
from transferflow.tasks.bundle import load_bundle


@pytest.fixture(scope="module")
def registered(two_runs):
    """Folder of a registered bundle, images, and what the library says of them."""
    context, (first, _) = two_runs
    registry = MlflowRegistry(context.home)
    bundle = registry.bundle(registry.find("colours", "1"))
    data = Path(load_bundle(first[1].folder).spec.data.root)
    images = [path.read_bytes() for path in sorted(data.glob("*/0[0-2].png"))]
    expected = [answer_json(one) for one in tf.load_model(bundle, device="cpu").predict(images)]
    return bundle, images, expected


def test_mlflow_loads_it_by_the_module_that_it_names(registered):
    bundle, images, expected = registered
    assert pyfunc.__name__ == LOADER
    model = mlflow.pyfunc.load_model(str(bundle))
    assert [column.name for column in model.metadata.signature.inputs] == ["image"]
    found = model.predict(pd.DataFrame({"image": images}))
    assert [one["labels"] for one in found] == [one["labels"] for one in expected]
    assert found[0]["probabilities"] == pytest.approx(expected[0]["probabilities"], abs=1e-5)


def test_a_cell_is_an_image_and_never_a_path(registered, tmp_path):
    bundle, images, _ = registered
    (tmp_path / "a.png").write_bytes(images[0])
    model = pyfunc._load_pyfunc(str(bundle))
    for cell, said in ((str(tmp_path / "a.png"), "no base64"), (7, "this is no image")):
        with pytest.raises(DataError, match=said):
            model.predict(pd.DataFrame({"image": pd.Series([cell], dtype=object)}))
    with pytest.raises(DataError, match="too many images"):
        model.predict(pd.DataFrame({"image": [images[0]] * 65}))
    (broken,) = model.predict(pd.DataFrame({"image": [b"no image"]}))
    assert "not an image" in broken["error"]


@pytest.mark.slow
def test_mlflow_models_serve_answers_an_http_client(registered, tmp_path):
    bundle, images, expected = registered
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(bundle)]
    command += ["--port", str(port), "--env-manager", "local", "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=settings, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/ping", process)
            cells = [[base64.b64encode(image).decode()] for image in images]
            body = {"dataframe_split": {"columns": ["image"], "data": cells}}
            answer = httpx.post(f"{url}/invocations", json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            found = answer.json()["predictions"]
            assert [one["labels"] for one in found] == [one["labels"] for one in expected]
            assert found[0]["probabilities"] == pytest.approx(expected[0]["probabilities"], abs=1e-5)
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def _wait(url, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise TimeoutError(url)
