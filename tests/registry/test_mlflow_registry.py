import getpass
import logging
import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest

from transferflow.errors import ChampionChangedError, MachineError, RegistryError
from transferflow.registry.base import parse_reference
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_keeping import MlflowKeeping
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.store import ArtifactStore

PROMOTE = Verdict(VerdictKind.PROMOTE, ("good",))
HOLD = Verdict(VerdictKind.HOLD, ("not surely better",))
REJECT = Verdict(VerdictKind.REJECT, ("worse",))


def test_a_registered_model_can_be_found_with_all_that_belongs_to_it(registry, make_entry):
    entry = make_entry()
    made = registry.register(entry, HOLD, None)
    assert (made.version, made.created, made.aliases) == (1, True, ("challenger",))
    assert made.tags["train_key"] == "t" * 64
    assert made.evaluation_key == entry.evaluation_key

    bundle = registry.bundle(registry.find("chest-xray", "challenger"))
    assert (bundle / "model.json").read_text() == (entry.bundle / "model.json").read_text()
    assert (bundle.parent / "report.html").exists()

    from mlflow import MlflowClient

    client = MlflowClient(registry.location)
    run = client.get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"optimizer.lr": "0.001", "freeze.layers": '["layer1"]'}
    assert run.data.metrics == {
        "test/accuracy": 0.9,
        "test/accuracy_low": 0.8,
        "test/accuracy_high": 0.95,
        "epoch/train_loss": 0.5,
    }
    assert [m.step for m in client.get_metric_history(made.run_id, "epoch/train_loss")] == [0, 1]
    [used] = run.inputs.dataset_inputs
    assert used.dataset.digest == "d" * 36
    assert {tag.key: tag.value for tag in used.tags}["sha256"] == "d" * 64
    assert run.data.tags["transferflow.dataset_sha256"] == "d" * 64


def test_one_evaluation_has_one_version(registry, make_entry):
    first = registry.register(make_entry(), HOLD, None)
    again = registry.register(make_entry(), HOLD, None)
    assert (again.version, again.created) == (first.version, False)
    assert registry.register(make_entry(key="f" * 64), HOLD, None).version == 2
    assert registry.tagged("chest-xray", "evaluation_key", "e" * 64).version == 1
    assert registry.tagged("chest-xray", "evaluation_key", "d" * 64) is None


def test_verdicts_move_the_aliases(registry, make_entry):
    assert registry.champion("chest-xray") is None
    first = registry.register(make_entry(key="a1"), PROMOTE, None)
    assert first.aliases == ("champion", "reference")
    assert (first.tags["verdict"], first.is_settled) == ("PROMOTE", True)

    second = registry.register(make_entry(key="a2"), HOLD, first)
    assert second.aliases == ("challenger",)
    assert second.tags["reasons"] == "not surely better"
    assert registry.champion("chest-xray").version == 1

    third = registry.register(make_entry(key="a3"), REJECT, first)
    assert third.aliases == ()
    assert registry.lookup("chest-xray", "challenger").version == 2

    fourth = registry.register(make_entry(key="a4"), PROMOTE, first)
    assert fourth.aliases == ("champion", "reference")
    assert registry.champion("chest-xray").version == 4
    assert registry.register(make_entry(key="a4"), PROMOTE, None).aliases == ("champion", "reference")
    assert registry.register(make_entry(key="a2"), REJECT, fourth).aliases == ()


def test_a_champion_that_changed_meanwhile_is_not_overwritten_and_nothing_is_made(registry, make_entry):
    registry.register(make_entry(key="a1"), PROMOTE, None)
    with pytest.raises(ChampionChangedError, match=r"models:/chest-xray/1"):
        registry.register(make_entry(key="a2"), PROMOTE, None)
    assert registry.champion("chest-xray").version == 1
    assert registry.lookup("chest-xray", "2") is None


@pytest.mark.parametrize("stopped_in", ["_move_aliases", "read_version"])
def test_who_is_stopped_on_the_way_is_settled_by_the_next_run(registry, make_entry, monkeypatch, stopped_in):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"transferflow.registry.mlflow_promotion.{stopped_in}", stop)
        with pytest.raises(KeyboardInterrupt):
            registry.register(make_entry(), PROMOTE, None)
    left = registry.lookup("chest-xray", "1")
    assert left is None or left.tags["verdict"] == "PROMOTE"  # never one without a verdict
    settled = registry.register(make_entry(), PROMOTE, None)
    assert (settled.version, settled.aliases, settled.is_settled) == (1, ("champion", "reference"), True)
    assert registry.lookup("chest-xray", "2") is None


def test_a_version_is_promoted_by_hand(registry, make_entry):
    first = registry.register(make_entry(key="a1"), PROMOTE, None)
    second = registry.register(make_entry(key="a2"), PROMOTE, first)
    back = registry.promote(first, "the new one is slow")
    assert back.aliases == ("champion", "reference")
    event = MlflowKeeping(registry).trail("chest-xray")[-1]
    assert (event.action, event.version, event.replaced) == ("promoted", 1, second.version)
    assert (event.reason, event.by) == ("the new one is slow", getpass.getuser())
    assert registry.champion("chest-xray").version == 1
    held = registry.register(make_entry(key="a3"), HOLD, back)
    assert registry.promote(held, "").aliases == ("champion", "reference")


def test_looking_for_a_champion_makes_no_database(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert MlflowRegistry(tmp_path).champion("chest-xray") is None
    assert not (tmp_path / "mlflow").exists()


def test_the_setting_names_another_registry(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@example.org/mlflow")
    assert MlflowRegistry(tmp_path).location == "https://example.org/mlflow"
    assert MlflowRegistry(tmp_path, "http://other:5000").location == "http://other:5000"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a:b", "a'b", "a\nb", "x" * 300])
def test_a_model_name_is_never_taken_on_trust(registry, make_entry, name):
    with pytest.raises(RegistryError, match="not a valid model name"):
        registry.register(make_entry(model=name), HOLD, None)
    with pytest.raises(RegistryError, match="not a valid model name"):
        registry.champion(name)


def test_of_many_models_some_are_listed_and_a_near_one_is_found_among_all(registry, make_entry):
    registry.register(make_entry(), HOLD, None)
    with registry.session() as client:
        for number in range(22):
            client.create_registered_model(f"a-{number:02}")
    with pytest.raises(RegistryError, match="did you mean `chest-xray`") as caught:
        registry.find("chest-xrays")
    shown = caught.value.problems[0].allowed.split(", ")
    assert shown == [*(f"a-{number:02}" for number in range(20)), "…"]


def test_what_is_not_there_is_said_with_what_is(registry, make_entry):
    registry.register(make_entry(), HOLD, None)
    with pytest.raises(RegistryError, match=r"no model 'brain'(?s:.*)allowed: chest-xray"):
        registry.find("brain")
    with pytest.raises(RegistryError, match=r"no version or alias 'champion'(?s:.*)chest-xray@challenger"):
        registry.find("chest-xray")
    with pytest.raises(RegistryError, match="no version or alias '7'") as caught:
        registry.find("chest-xray", "7")
    assert caught.value.problems[0].allowed == "chest-xray@challenger, chest-xray/1"
    with pytest.raises(RegistryError, match="did you mean `chest-xray`"):
        registry.find("chest-xry")
    assert registry.lookup("chest-xray", "7") is None
    assert registry.lookup("brain", "1") is None
    assert registry.lookup("chest-xray", "1").version == 1
    with pytest.raises(RegistryError, match="not a valid alias"):
        registry.find("chest-xray", "../7")


def test_a_version_from_elsewhere_is_refused(registry, make_entry, tmp_path):
    made = registry.register(make_entry(), HOLD, None)
    from mlflow import MlflowClient

    client = MlflowClient(registry.location)
    client.create_model_version("chest-xray", str(tmp_path), run_id=made.run_id)
    with pytest.raises(RegistryError, match="no bundle that transferflow can read"):
        registry.bundle(registry.find("chest-xray", "2"))
    (registry.bundle(made) / "model.json").unlink()
    with pytest.raises(RegistryError, match=r"model\.json is missing"):
        registry.bundle(made)


def test_a_version_whose_source_was_turned_to_another_training_is_never_served(registry, make_entry):
    first = registry.register(make_entry(key="a1"), PROMOTE, None)
    other = registry.register(make_entry(key="a2", tags={"train_key": "u" * 64}), HOLD, first)
    source = f"runs:/{first.run_id}/bundle"
    with closing(sqlite3.connect(registry._folder / "mlflow.db")) as database, database:
        database.execute("UPDATE model_versions SET source = ?, storage_location = ?", (source, source))
    assert registry.bundle(first).is_dir()
    with pytest.raises(RegistryError, match="another training"):
        registry.bundle(other)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_bundle_is_mended_from_its_training_or_refused(registry, make_entry, tmp_path):
    entry = make_entry()
    made = registry.register(entry, PROMOTE, None)
    weights = registry.bundle(made) / "weights.safetensors"
    _flip(weights)
    with pytest.raises(RegistryError, match=r"(?s)no bundle that .*bundle is damaged.*run its spec again"):
        registry.bundle(made)

    def write(folder):
        shutil.copytree(entry.bundle, folder, dirs_exist_ok=True)

    ArtifactStore(tmp_path / "home with spaces").obtain("train", "t" * 64, {}, write)
    assert registry.bundle(made) == weights.parent
    assert weights.read_bytes() == b"\x00" * 64


def test_a_failed_upload_leaves_no_version_and_a_failed_run(registry, make_entry, tmp_path):
    entry = make_entry(files=(tmp_path / "missing.html",))
    with pytest.raises(MachineError, match=r"missing\.html"):
        registry.register(entry, HOLD, None)
    assert registry.register(make_entry(), HOLD, None).version == 1


def test_a_server_that_is_not_there_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://\*\*\*@127\.0\.0\.1:9: the model registry refused"):
        MlflowRegistry(tmp_path, "http://me:secret@127.0.0.1:9").check()


def test_opening_it_is_quiet(tmp_path, capfd):
    root = logging.getLogger().level
    with pytest.raises(RegistryError):
        MlflowRegistry(tmp_path, f"sqlite:///{tmp_path}/x.db").find("none")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().level == root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("chest-xray", ("chest-xray", "champion")),
        ("chest-xray@challenger", ("chest-xray", "challenger")),
        ("chest-xray/3", ("chest-xray", "3")),
        ("models:/chest-xray@champion", ("chest-xray", "champion")),
        ("a@b/c", ("a", "b/c")),
    ],
)
def test_references(text, expected):
    assert parse_reference(text) == expected


REGISTER = """
import pickle, sys
from transferflow.registry.mlflow_registry import MlflowRegistry
home, entry = pickle.load(sys.stdin.buffer)
from transferflow.registry.gate import Verdict, VerdictKind
print(MlflowRegistry(home).register(entry, Verdict(VerdictKind.HOLD, ()), None).version)
"""


@pytest.mark.slow
def test_two_processes_make_one_version(registry, make_entry, tmp_path):
    task = pickle.dumps((tmp_path / "home with spaces", make_entry()))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    workers = [subprocess.Popen([sys.executable, "-c", REGISTER], **pipes) for _ in range(2)]
    for worker in workers:
        worker.stdin.write(task)
        worker.stdin.close()
    assert [worker.stdout.read().strip() for worker in workers] == [b"1", b"1"]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    with pytest.raises(RegistryError, match="no version or alias '2'"):
        registry.find("chest-xray", "2")


@pytest.fixture
def server(tmp_path):
    """A real MLflow server that keeps the files itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/health", process)
        yield url
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(url, process):
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=1)
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(url)


@pytest.mark.slow
def test_a_remote_registry_gives_the_bundle_back(server, make_entry, tmp_path, capfd):
    registry = MlflowRegistry(tmp_path / "home", server.replace("://", "://me:hunter2@"))
    version = registry.register(make_entry(), PROMOTE, None)
    bundle = registry.bundle(registry.find("chest-xray"))
    assert bundle.is_relative_to(tmp_path / "home" / "mlflow" / "downloads")
    assert (bundle / "weights.safetensors").read_bytes() == b"\x00" * 64
    assert registry.bundle(version) == bundle
    _flip(bundle / "weights.safetensors")
    assert registry.bundle(version) == bundle
    assert (bundle / "weights.safetensors").read_bytes() == b"\x00" * 64
    assert registry.register(make_entry(), PROMOTE, version).created is False
    assert registry.identity == server
    registry.check()
    assert "hunter2" not in "".join(capfd.readouterr())
