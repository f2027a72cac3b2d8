"""No password reaches what a run prints or keeps, wherever it came from."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save
from torch import nn

from transferflow.cli.main import main
from transferflow.errors import PlanError
from transferflow.stages.context import build_context

pytestmark = pytest.mark.slow

CANARY = "hunter2hunter2"
LOGIN = f"Basic {base64.b64encode(f'me:{CANARY}'.encode()).decode()}"


@pytest.fixture(scope="module")
def weights() -> bytes:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model("test_resnet", pretrained=False)
    return save({name: value.contiguous() for name, value in model.state_dict().items()})


@pytest.fixture
def server(weights: bytes) -> Iterator[str]:
    """A server that hands the weights to who logs in."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            knows = self.headers.get("Authorization") == LOGIN
            self.send_response(200 if knows else 401)
            body = weights if knows else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def write_spec(tmp_path: Path, colour_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    monkeypatch.chdir(tmp_path)
    for name in ("TORCH_HOME", "TRANSFERFLOW_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))

    def write(address: str, sha256: str = "0" * 64) -> str:
        Path("spec.yaml").write_text(
            "name: colours\ntask: {kind: classification}\n"
            f"data: {{format: image_folder, root: {colour_folder}, image_size: 32}}\n"
            "backbone: {source: checkpoint, library: timm, name: test_resnet, "
            f"weights: '{address}', sha256: {sha256}, min_match: 0.5}}\n"
            "training: {epochs: 1, device: cpu, workers: 0}\nevaluation: {bootstrap: 20}\n"
        )
        return "spec.yaml"

    return write


def holders(folder: Path) -> list[str]:
    """Files below a folder that hold the password, plain or as it is sent."""
    secrets = (CANARY.encode(), LOGIN.removeprefix("Basic ").encode())
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in ("netrc", "spec.yaml"))
    return [str(file) for file in files if any(secret in file.read_bytes() for secret in secrets)]


def test_a_run_uses_passwords_and_keeps_none(
    server, weights, write_spec, tmp_path, monkeypatch, capfd, caplog
):
    spec = write_spec(f"{server}/weights", hashlib.sha256(weights).hexdigest())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["run", "--no-prefect", spec]) == 1
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert main(["run", "--no-prefect", spec]) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{CANARY}@127.0.0.1:9")
    assert main(["run", "--no-prefect", spec]) == 1
    assert main(["predict", "colours", "colours/red/00.png"]) == 1
    out, err = capfd.readouterr()
    assert "***@127.0.0.1:9" in err
    assert "netrc" in err
    assert CANARY not in out + err
    assert (tmp_path / "transferflow_home" / "reports" / "colours.html").is_file()
    assert holders(tmp_path) == []


@pytest.mark.parametrize("later", [[], ["--set", "backbone.weights=none"]])
@pytest.mark.parametrize("command", ["plan", "run", "deploy"])
def test_a_value_with_a_password_is_refused_though_another_follows(
    command, later, write_spec, tmp_path, capfd
):
    """Prefect keeps a flow run's parameters, all values as they were said."""
    spec = write_spec("none")
    value = f"backbone.weights=https://me:{CANARY}@host/weights.pth"
    assert main([command, spec, "--set", value, *later]) == 2
    out, err = capfd.readouterr()
    assert "netrc" in out + err
    assert CANARY not in out + err
    assert holders(tmp_path) == []


def test_a_run_that_is_asked_elsewhere_keeps_no_password_either(tmp_path):
    with pytest.raises(PlanError, match="MLFLOW_TRACKING_USERNAME") as caught:
        build_context(tmp_path, f"https://me:{CANARY}@host")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_spec_with_a_password_is_refused_before_anything_is_kept(command, write_spec, tmp_path, capfd):
    spec = write_spec(f"https://me:{CANARY}@host/weights.pth")
    assert main([command, spec]) == 2
    out, err = capfd.readouterr()
    assert "backbone.weights" in out + err
    assert CANARY not in out + err
    assert holders(tmp_path) == []
