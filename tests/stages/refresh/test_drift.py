import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.registry.base import CHAMPION, RegisteredVersion
from transferflow.stages.prepare import prepare
from transferflow.stages.refresh.drift import compute_embedding, draw_images
from transferflow.stages.refresh.look import look_at_data
from transferflow.stages.refresh.peek import peek_at_data
from transferflow.tasks.bundle import load_bundle

RULE = {"poll": "0 * * * *", "settle_minutes": 0.0, "min_changed": 50, "drift": {"images": 20}}

REGISTRY = "transferflow.registry.mlflow_registry.MlflowRegistry"


@pytest.fixture
def champion(bundles, monkeypatch):
    """A model of which only the registry's part is made up."""
    version = RegisteredVersion("colours", 1, "r", (CHAMPION,), {})
    monkeypatch.setattr(f"{REGISTRY}.champion", lambda _self, _name: version)
    monkeypatch.setattr(f"{REGISTRY}.bundle", lambda _self, _version: bundles["classification"])
    return version


@pytest.fixture
def spec_of(build_spec):
    return lambda **rule: build_spec(deployment={"refresh": RULE | rule})


def add(folder, change, count=12):
    """More images of red, made of those that are there."""
    for number in range(count):
        image = Image.open(folder / "red" / f"{number:02}.png")
        image.putpixel((0, 0), (number, 0, 0))
        change(image).save(folder / "red" / f"new{number:02}.png")


def darkened(image):
    return ImageEnhance.Brightness(image).enhance(0.1)


def test_images_of_another_kind_are_drift_and_more_of_the_same_are_not(
    trained, context, colour_folder, champion
):
    for number in range(12):
        for name in ("red", "green", "blue"):  # as many of each as there were
            image = Image.open(colour_folder / name / f"{number:02}.png")
            image.putpixel((0, 0), (number, 0, 0))
            image.save(colour_folder / name / f"new{number:02}.png")
    same = look_at_data(trained, context)
    assert same.decision.action == "nothing"
    assert same.change.drift.p_value > 0.05
    assert "; drift: MMD² " in same.decision.reason
    assert same.decision.reason.endswith("of the last training's (drift.p_value 0.01)")
    for file in colour_folder.glob("*/new*.png"):
        darkened(Image.open(file)).save(file)
    other = look_at_data(trained, context)
    assert other.decision.action == "train"
    assert ": the new images differ from those before; drift: MMD² " in other.decision.reason
    assert (other.change.drift.p_value, other.change.drift.new) == (0.001, 20)
    assert other.change.drift.model == champion.uri


def test_it_is_measured_once_and_only_when_it_is_asked_for_and_something_changed(
    trained, context, colour_folder, champion, spec_of, monkeypatch
):
    assert look_at_data(trained, context).change.drift is None
    add(colour_folder, darkened)
    plain = spec_of(drift=None)
    assert look_at_data(plain, context).change.drift is None
    path = context.refresh_record(trained.name)
    assert peek_at_data(trained, trained.deployment.refresh, path) is None  # it was not asked for before
    first = look_at_data(trained, context)
    monkeypatch.setattr("transferflow.stages.refresh.drift.compute_embedding", None)
    assert peek_at_data(trained, trained.deployment.refresh, path) == first.decision
    assert look_at_data(trained, context).change == first.change
    stricter = spec_of(drift={"images": 20, "p_value": 0.001})
    assert "drift.p_value 0.001" in look_at_data(stricter, context).decision.reason
    assert "drift" not in look_at_data(plain, context).decision.reason


def test_what_can_not_be_measured_is_said(trained, context, colour_folder, champion, monkeypatch):
    add(colour_folder, darkened, count=1)
    reason = look_at_data(trained, context).decision.reason
    assert "drift was not measured: it takes 2 new images" in reason
    add(colour_folder, darkened, count=3)
    monkeypatch.setattr(f"{REGISTRY}.champion", lambda _self, _name: None)
    look = look_at_data(trained, context)
    assert look.decision.action == "nothing"
    assert "drift was not measured: no version of colours is the champion" in look.decision.reason
    again = peek_at_data(trained, trained.deployment.refresh, context.refresh_record(trained.name))
    assert again == look.decision  # and no poll asks again


def test_a_set_that_lost_much_is_not_measured(trained, context, colour_folder):
    add(colour_folder, darkened)
    for file in list(colour_folder.rglob("[01]?.png"))[:30]:
        file.unlink()
    assert look_at_data(trained, context).decision.action == "stop"


def test_new_images_are_held_against_those_that_were_not_trained_on(trained, context, colour_folder):
    base = load_snapshot(prepare(trained, context).folder)
    add(colour_folder, darkened)
    shutil.move(colour_folder / "blue" / "00.png", colour_folder / "blue" / "renamed.png")
    now = load_snapshot(prepare(trained, context).folder)
    new, before = draw_images(base, now, 500, seed=1)
    assert {row.path for row in new} == {f"red/new{number:02}.png" for number in range(12)}
    held_out = {row.sha256 for row in read_rows(base) if row.split != "train"}
    assert {row.sha256 for row in before} == held_out
    few = draw_images(base, now, 5, seed=1)
    assert [len(rows) for rows in few] == [5, 5]
    assert few == draw_images(base, now, 5, seed=1)
    assert few != draw_images(base, now, 5, seed=2)


def test_images_of_a_group_count_once(trained, context, colour_folder, monkeypatch):
    base = load_snapshot(prepare(trained, context).folder)
    add(colour_folder, darkened)
    now = load_snapshot(prepare(trained, context).folder)
    rows = [replace(row, group="patient 1" if "new0" in row.path else None) for row in read_rows(now)]
    monkeypatch.setattr("transferflow.stages.refresh.drift.read_rows", lambda _snapshot: rows)
    new, _ = draw_images(base, now, 500, seed=1)
    assert len(new) == 3  # one of the patient's ten, and the two of nobody


@pytest.mark.parametrize("task", ["classification", "regression", "detection", "segmentation"])
def test_every_task_has_features(task, bundles, trained, context):
    rows = read_rows(load_snapshot(prepare(trained, context).folder))[:3]
    bundle = load_bundle(bundles[task])
    found = compute_embedding(bundle, rows)
    assert found.shape[0] == 3
    assert found.shape[1] > 16
    assert np.ptp(found, axis=0).max() > 0
    again = compute_embedding(bundle, rows[1:])  # an image's features do not depend on those beside it
    np.testing.assert_allclose(again, found[1:], rtol=1e-3, atol=1e-4)


def test_features_are_what_the_head_is_given(bundles, trained, context):
    rows = read_rows(load_snapshot(prepare(trained, context).folder))[:2]
    bundle = load_bundle(bundles["classification"])
    features = torch.from_numpy(compute_embedding(bundle, rows)).float()
    images = [bundle.transform(np.asarray(Image.open(row.absolute_path))) for row in rows]
    with torch.inference_mode():
        logits = bundle.model(torch.stack(images))
        torch.testing.assert_close(bundle.model.head(features), logits, rtol=1e-4, atol=1e-5)
