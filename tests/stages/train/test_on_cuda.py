"""On a real GPU, where there is one: what the stand-in of `test_accelerator` can't show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import InterruptedRunError
from transferflow.library import load_model
from transferflow.stages.context import RunContext
from transferflow.stages.prepare import prepare
from transferflow.stages.split_images import build_split_images, eval_transform_of
from transferflow.stages.train.job import build_training_images, compile_job
from transferflow.stages.train.settings import loop_settings
from transferflow.stages.train.stage import train
from transferflow.stages.train.training_plan import compile_training_plan
from transferflow.tasks.build import build_parts, build_task
from transferflow.training.activations import cache
from transferflow.training.loop.build import arithmetic_of, build_stepper

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
TASKS = ["classification", "regression", "detection", "segmentation"]
GPU = {"device": "cuda"}
ALL = {"freeze": {"policy": "none"}}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """The arithmetic of a CPU as far as a GPU has it, and the same each time."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def losses(trained) -> list[float]:
    return [row["train_loss"] for row in trained[1]["epochs"]]


@pytest.mark.parametrize("task", TASKS)
def test_it_trains_as_on_a_cpu(train_in, tmp_path, task):
    head = {"head": {"kind": "linear"}} if task == "classification" else {}  # dropout is drawn otherwise
    here = train_in(tmp_path / "cpu", task, **ALL, **head, training={"epochs": 1})
    there = train_in(tmp_path / "gpu", task, **ALL, **head, training=GPU | {"epochs": 1})
    assert there[1]["device"] == torch.cuda.get_device_name()
    assert losses(there) == pytest.approx(losses(here), rel=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_part_computed_once_changes_nothing(train_in, tmp_path, monkeypatch, task):
    monkeypatch.setattr(cache, "decide_pays", lambda *_: True)  # of so small a model some don't on a GPU
    cached = train_in(tmp_path / "a", task, training=GPU)
    plain = train_in(tmp_path / "b", task, training=GPU | {"activation_cache": "off"})
    assert losses(cached) == pytest.approx(losses(plain), rel=1e-3)
    assert cached[1]["freeze_proof"] == plain[1]["freeze_proof"]
    assert list((tmp_path / "a" / "cache" / "activations").iterdir())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("precision", ["auto", "fp16"])
def test_half_precision_learns(train_in, tmp_path, task, precision):
    training = GPU | {"precision": precision, "epochs": 4}
    trained = train_in(tmp_path, task, **ALL, training=training, optimizer={"lr": 1e-3})
    assert trained[1]["precision"] == ("bf16" if precision == "auto" else "fp16")
    assert losses(trained)[-1] < losses(trained)[0]
    assert all(tensor.isfinite().all() for tensor in trained[0].values())


@pytest.mark.parametrize("extra", [{}, {"ema": 0.9}, {"on_nan": "skip"}], ids=["ahead", "average", "skip"])
def test_a_training_that_was_stopped_goes_on(train_in, tmp_path, stopped_at_validation, extra):
    sections = {**ALL, "training": GPU | extra}
    expected = train_in(tmp_path / "whole", **sections)
    with stopped_at_validation(3), pytest.raises(InterruptedRunError):
        train_in(tmp_path / "cut", **sections)
    found = train_in(tmp_path / "cut", **sections)
    assert len(losses(found)) == 3
    assert losses(found) == pytest.approx(losses(expected), rel=1e-3)


def test_a_batch_that_does_not_fit_is_computed_in_parts(train_in, tmp_path):
    """As much memory as a few images need, and no more."""
    sections = {**ALL, "data": {"image_size": 224}, "training": GPU | {"epochs": 1, "batch_size": 24}}
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 4.5e8) / whole)
    try:
        _, history = train_in(tmp_path, **sections)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 < history["micro_batch"] < 24


WEIGHTED = {"training": GPU | {"class_weights": "balanced"}}


@pytest.fixture
def build_steps(build_squares_spec, tmp_path):
    """The parts that steps of a spec are taken with."""

    def build(task, **sections):
        spec, context = build_squares_spec(task, **sections), RunContext(tmp_path)
        snapshot = load_snapshot(prepare(spec, context).folder)
        parts = build_parts(spec, snapshot.classes, pretrained=True)
        transform = eval_transform_of(spec, parts.preprocessing)
        shown = build_split_images(spec, snapshot, "val", transform, context.decoded_images)
        images = build_training_images(spec, shown, context.decoded_images)
        plan, folder = compile_training_plan(spec, parts), tmp_path / "work"
        task, settings = build_task(spec), loop_settings(spec)
        job = compile_job(
            spec, task, parts, plan, images, settings=settings, context=context, folder=folder, hooks=()
        )
        device = torch.device("cuda")
        stepper = build_stepper(job, device, arithmetic_of(job.settings, device))
        job.model.train()
        return job, stepper

    return build


@pytest.mark.parametrize(
    ("task", "sections"),
    [
        ("classification", {"training": GPU}),
        ("classification", {"training": GPU | {"gradient_clip": 1.0, "precision": "auto"}}),
        ("classification", {"training": GPU, "augmentation": {"preset": "similar_domain", "mixup": 0.2}}),
        ("classification", WEIGHTED),
        ("regression", {"training": GPU}),
        ("segmentation", {"training": GPU | {"gradient_clip": 1.0}}),
        ("segmentation", WEIGHTED),
    ],
)
def test_no_step_waits_for_the_device(build_steps, task, sections):
    job, stepper = build_steps(task, **ALL, **sections)
    batches = iter(job.train_loader.epoch(0))
    computed = stepper.gradients(next(batches), 0)  # what is set up once may wait
    stepper.move(computed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            following = stepper.gradients(batch, 0)
            stepper.read(computed)
            stepper.settle(1)
            stepper.move(following)
            computed = following
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("task", TASKS)
def test_it_answers_as_on_a_cpu(build_squares_spec, squares, tmp_path, task):
    spec, context = build_squares_spec(task, training=GPU | {"epochs": 1}), RunContext(tmp_path)
    bundle = Path(train(spec, context, prepare(spec, context)).folder)
    images = sorted(squares.glob("*.png"))[:6]
    here, there = (load_model(bundle, device=device).predict(images) for device in ("cpu", "cuda"))
    assert _numbers(there) == pytest.approx(_numbers(here), abs=1e-3)


def _numbers(answers) -> list[float]:
    """All numbers of answers, in order; of an array its mean."""

    def walk(value):
        if isinstance(value, np.ndarray):
            yield float(value.mean())
        elif isinstance(value, int | float):
            yield float(value)
        elif isinstance(value, dict):
            for part in value.values():
                yield from walk(part)
        elif isinstance(value, list | tuple):
            for part in value:
                yield from walk(part)

    return list(walk([asdict(answer) for answer in answers]))
