import hashlib
import json

import fsspec
import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

from transferflow.errors import PlanError, WeightsError
from transferflow.models.spec_weights import files_of
from transferflow.models.weights.files import find_weights
from transferflow.models.weights.lock import lock_weights, write_lock
from transferflow.stages.context import RunContext
from transferflow.stages.plan.compile import compile_plan
from transferflow.stages.plan.requirements import require_transforms, require_weights
from transferflow.stages.run import run_plan


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return RunContext(tmp_path / "home")


PUBLISHED = {"source": "torchvision", "name": "resnet18"}


def test_offline_a_run_fails_before_it_prepares_anything(build_spec, offline):
    spec = build_spec(backbone=PUBLISHED)
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth\n.*transferflow weights fetch SPEC"):
        run_plan(spec, offline)
    assert not list(offline.home.rglob("manifest*"))
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth"):
        compile_plan(spec, offline)


def test_each_missing_file_is_named(build_spec, offline):
    clip = {"source": "timm", "name": "vit_base_patch32_clip_quickgelu_224", "weights": "openai"}
    spec = build_spec(backbone=clip, head={"init": "text"})
    with pytest.raises(WeightsError) as caught:
        require_weights(spec, offline)
    assert len(caught.value.problems) >= 2
    assert all("weights fetch SPEC" in problem.hint for problem in caught.value.problems)
    assert len({problem.found for problem in caught.value.problems}) == len(caught.value.problems)


def test_what_no_download_brings_is_refused_online_too(build_spec, tmp_path):
    mine = {"source": "checkpoint", "name": "resnet18", "weights": str(tmp_path / "mine.pth")}
    with pytest.raises(WeightsError, match="relative to the folder"):
        require_weights(build_spec(backbone=mine), RunContext(tmp_path / "home"))
    with pytest.raises(PlanError, match="no such timm model"):
        require_weights(build_spec(backbone={"source": "timm", "name": "resnet999"}), RunContext(tmp_path))


@pytest.fixture
def in_memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def remote(content_sha256):
    return {
        "source": "checkpoint",
        "library": "timm",
        "name": "test_resnet",
        "weights": "memory://weights.pth",
        "sha256": content_sha256,
    }


def test_what_a_download_does_not_bring_fails_before_anything_is_prepared(
    build_spec, tmp_path, monkeypatch, in_memory
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    context = RunContext(tmp_path / "home")
    spec = build_spec(backbone=remote("0" * 64))
    with pytest.raises(WeightsError, match=r"could not be downloaded\n.*no such file"):
        run_plan(spec, context)
    in_memory.pipe("/weights.pth", b"other")
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        run_plan(spec, context)
    assert not list(context.home.iterdir())
    compile_plan(spec, context)  # a plan downloads nothing


def test_missing_weights_are_fetched_first(build_spec, tmp_path, monkeypatch, in_memory, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    in_memory.pipe("/weights.pth", b"content")
    spec = build_spec(backbone=remote(hashlib.sha256(b"content").hexdigest()))
    with caplog.at_level("INFO", "transferflow"):
        require_weights(spec, RunContext(tmp_path / "home"))
        require_weights(spec, RunContext(tmp_path / "home"))
    (file,) = files_of(spec)
    assert find_weights(file).read_bytes() == b"content"
    assert caplog.messages == ["weights: fetching memory://weights.pth"]


def test_a_present_file_with_another_hash_fails_the_plan_too(build_spec, tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"other")
    mine = {"source": "checkpoint", "name": "resnet18", "weights": str(path), "sha256": "0" * 64}
    with pytest.raises(WeightsError, match="not the one that was asked for"):
        compile_plan(build_spec(backbone=mine), RunContext(tmp_path / "home"))


@pytest.fixture
def in_hub_cache(tmp_path, monkeypatch):
    """A tiny timm model as the hub's client keeps it; returns a function that replaces its weights."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = cache / "models--timm--test_resnet.r160_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)

    def put(seed):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_resnet").state_dict(), snapshot / "model.safetensors")

    put(0)
    return put


@pytest.mark.slow
def test_a_lock_holds_in_every_run_and_is_part_of_the_key(build_spec, tmp_path, monkeypatch, in_hub_cache):
    lock = tmp_path / "weights.lock"
    spec = build_spec(
        backbone={"source": "timm", "name": "test_resnet", "weights": "r160_in1k"},
        training={"epochs": 1, "batch_size": 12, "workers": 0},
    )
    context = RunContext(tmp_path / "home")
    without = run_plan(spec, context)
    assert all(o.reused for o in run_plan(spec, context))

    def write():
        write_lock(lock, [lock_weights(file, find_weights(file)) for file in files_of(spec)])

    write()
    monkeypatch.setenv("TRANSFERFLOW_WEIGHTS_LOCK", str(lock))
    locked = run_plan(spec, context)
    assert locked[1].key != without[1].key
    assert [o.reused for o in run_plan(spec, context)] == [True] * 4
    in_hub_cache(1)
    for start in (run_plan, compile_plan):
        with pytest.raises(WeightsError, match="not the one that was locked"):
            start(spec, context)
    write()
    (changed,) = compile_plan(spec, context).stages[1].changed
    assert changed.startswith("weights.hf://timm/test_resnet.r160_in1k/model.safetensors: ")
    assert not run_plan(spec, context)[1].reused
    document = json.loads(lock.read_text())
    document["weights"][0]["sha256"] = "0" * 64
    lock.write_text(json.dumps(document))
    for start in (run_plan, compile_plan):
        with pytest.raises(WeightsError, match="not the one that was locked"):
            start(spec, context)


def test_an_unknown_transform_is_refused_before_anything_runs(build_spec, tmp_path):
    spec = build_spec(
        augmentation={"transforms": [{"name": "HorizontalFlop"}, {"name": "Blur", "args": {"limit": 3}}]}
    )
    for start in (
        lambda: run_plan(spec, RunContext(tmp_path)),
        lambda: compile_plan(spec, RunContext(tmp_path)),
    ):
        with pytest.raises(PlanError, match=r"transforms\.0\.name: .*HorizontalFlop") as caught:
            start()
        assert len(caught.value.problems) == 2
    require_transforms(build_spec(augmentation={"preset": "none"}))
