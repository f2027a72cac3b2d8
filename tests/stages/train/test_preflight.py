"""The preflight of a run, as part of the train stage and alone."""

import json
import logging
import math
from dataclasses import replace

import pytest
import yaml
from safetensors.torch import load_file

from transferflow.cli.main import main
from transferflow.errors import DataError, InterruptedRunError
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.train import fit, preflight
from transferflow.stages.train.stage import train
from transferflow.training.hooks import LogHook
from transferflow.training.preflight.contents import Preflight

TRAINING = {"epochs": 3, "batch_size": 12, "workers": 0, "device": "cpu", "precision": "fp32"}
GRADUAL = {
    "freeze": {
        "policy": "phases",
        "phases": [{"epochs": 1, "train": ["head"]}, {"epochs": 1, "train": ["*"]}],
    },
    "head": {"dropout": 0.5},
    "augmentation": {"preset": "different_domain", "mixup": 0.2},
    "training": TRAINING | {"workers": 1, "ema": 0.9},
}
ON_ACTIVATIONS = {
    "freeze": {"policy": "phases", "phases": [{"epochs": 1, "train": ["head"]}]},
    "training": TRAINING,
}


@pytest.mark.parametrize("sections", [GRADUAL, ON_ACTIVATIONS], ids=["gradual", "activations"])
def test_the_weights_have_the_same_bits_with_and_without_it(build_spec, tmp_path, monkeypatch, sections):
    spec, found = build_spec(**sections), []
    for name in ("looked", "not"):
        context = RunContext(tmp_path / name)
        trained = train(spec, context, prepare(spec, context))
        found.append(load_file(trained.folder / "weights.safetensors"))
        assert (trained.folder / "preflight.json").exists() == (name == "looked")
        monkeypatch.setattr(fit, "look_before_first_epoch", lambda *given: None)
    assert found[0].keys() == found[1].keys()
    assert all(tensor.equal(found[1][key]) for key, tensor in found[0].items())


def test_what_it_found_is_told_and_kept(build_spec, tmp_path, caplog):
    spec = build_spec(augmentation={"preset": "different_domain"}, head={"init": "zero"})
    context = RunContext(tmp_path / "home")
    with caplog.at_level(logging.INFO):
        trained = train(spec, context, prepare(spec, context))
    found = Preflight.from_json(json.loads((trained.folder / "preflight.json").read_text()))
    assert found.warnings == ()
    assert found.figures["loss"] == pytest.approx(math.log(3))
    assert "preflight: loss: 1.0986 (expected: about 1.0986: ln 3" in caplog.text
    assert "preflight: gradient: reaches conv1 (" in caplog.text
    assert "s a step: " in caplog.text
    sheet = (trained.folder / "training-images.html").read_text()
    assert sheet.count("<img") == 12 * 4  # as evaluation sees them, and three variations
    assert "VerticalFlip" in sheet


def test_the_report_shows_it_and_links_to_the_images(two_runs):
    context, runs = two_runs
    for number, (_, trained, _, registered) in enumerate(runs, 1):
        sheet = (trained.folder / "training-images.html").read_text()
        link = f"training-images-{trained.key[:12]}.html"
        report = context.reports / "colours" / f"version-{number}.html"
        assert f'href="{link}"' in report.read_text()
        assert "12 labels, 3 of 3 classes" in report.read_text()
        assert report.with_name(link).read_text() == (registered.folder / link).read_text() == sheet
    latest = context.reports / "colours.html"
    assert f'href="{link}"' in latest.read_text()
    assert latest.with_name(link).read_text() == sheet
    version = context.registry.lookup("colours", "2")
    with context.registry.session() as client:
        assert link in [file.path for file in client.list_artifacts(version.run_id)]


def test_a_resume_has_looked_already(build_spec, tmp_path, monkeypatch):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    prepared, looks = prepare(spec, context), []

    def look(*given, **options):
        looks.append(1)
        return real(*given, **options)

    def interrupted(*given):
        raise KeyboardInterrupt

    real = preflight.look_before
    monkeypatch.setattr(preflight, "look_before", look)
    with monkeypatch.context() as stopped:
        stopped.setattr(LogHook, "on_epoch", interrupted)
        with pytest.raises(InterruptedRunError):
            train(spec, context, prepared)
    trained = train(spec, context, prepared)
    assert looks == [1]
    assert (trained.folder / "preflight.json").exists()
    assert (trained.folder / "training-images.html").exists()


@pytest.fixture
def write(build_spec, tmp_path):
    """Write the tiny spec with other sections; return the words of a preflight of it."""

    def run(**sections):
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(build_spec(**sections).model_dump(mode="json", exclude_unset=True)))
        return ["run", str(path), "--preflight-only", "--home", str(tmp_path / "home")]

    return run


def test_alone_it_prints_a_table_and_trains_nothing(write, tmp_path, capsys):
    assert main(write()) == 0
    said = capsys.readouterr().out
    for words in ("pixels", "12 labels, 3 of 3 classes", "ln 3", "reaches conv1", "s a step", "fine"):
        assert words in said
    home = tmp_path / "home"
    sheet = home / "reports" / "colours-training-images.html"
    assert said.splitlines()[-1] == f"training images: {sheet}"
    assert sheet.exists()
    assert sorted(path.name for path in (home / "artifacts").iterdir()) == ["prepare"]
    assert not (home / "work" / "train").exists()


def test_alone_it_fails_where_a_run_would(write, capsys):
    # The head is frozen at zero, so that nothing reaches what is before it.
    dead = {"policy": "phases", "phases": [{"epochs": 1, "train": ["layer*"]}]}
    assert main(write(freeze=dead, head={"init": "zero"})) == 1
    said = capsys.readouterr().err
    assert "no gradient reaches groups that are to train" in said
    assert "layer1, layer2, layer3, layer4" in said
    assert main([*write(), "--fail-on", "hold"]) == 2


def test_a_target_that_is_no_class_ends_a_run(build_spec, tmp_path, monkeypatch):
    spec, context = build_spec(), RunContext(tmp_path / "home")
    real = preflight._first_batch

    def mislabelled(images):
        batch, seconds = real(images)
        return replace(batch, targets=batch.targets + 1), seconds

    monkeypatch.setattr(preflight, "_first_batch", mislabelled)
    with pytest.raises(DataError, match="a label is no number of a class, 0 to 2"):
        train(spec, context, prepare(spec, context))


def test_a_head_that_is_never_trained_has_a_loss(build_spec, tmp_path):
    spec = build_spec(head={"init": "prototypes"}, training=TRAINING | {"epochs": 0})
    context = RunContext(tmp_path / "home")
    trained = train(spec, context, prepare(spec, context))
    found = Preflight.from_json(json.loads((trained.folder / "preflight.json").read_text()))
    assert [check.name for check in found.checks] == ["pixels", "targets", "loss"]
    assert "at most about 1.0986" in found.checks[2].expected
