import pytest

from transferflow.errors import PlanError, WeightsError
from transferflow.stages.context import RunContext
from transferflow.stages.pipeline import run_plan
from transferflow.stages.plan import compile_plan
from transferflow.stages.preflight import require_transforms, require_weights


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
