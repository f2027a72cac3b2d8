"""Which metric decides, gate and kept epoch alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.errors import SpecError
from transferflow.spec.deciding import (
    as_deployed,
    decide_baselines,
    deployed_gpus,
    gate_metric,
    training_devices,
    watched_metric,
)
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.load import load_spec


@pytest.mark.parametrize(
    ("overrides", "gate", "watched"),
    [
        ((), "accuracy", "accuracy"),
        (("registration.gate.metric=auroc",), "auroc", "auroc"),
        (("registration.gate.metric=auroc", "training.early_stopping={}"), "auroc", "auroc"),
        (("training.early_stopping={metric: ece}",), "accuracy", "ece"),
        (
            ("registration.gate.metric=auroc", "training.early_stopping={metric: macro_f1}"),
            "auroc",
            "macro_f1",
        ),
        (("evaluation.metrics=[ece, accuracy]",), "accuracy", "accuracy"),
        (("evaluation.metrics=[auroc]", "registration.gate.metric=auroc"), "auroc", "auroc"),
    ],
)
def test_the_gates_metric_chooses_the_epoch_unless_the_spec_says_otherwise(
    write: Callable[..., Path], good: str, overrides: tuple[str, ...], gate: str, watched: str
) -> None:
    spec = load_spec(write(good), overrides)
    assert (gate_metric(spec), watched_metric(spec)) == (gate, watched)


@pytest.mark.parametrize(
    ("overrides", "by_hand", "deployed", "gpus"),
    [
        ((), 1, 1, 1),
        (("training.devices=4",), 4, 4, 4),
        (("deployment.gpus=2",), 1, 2, 2),
        (("deployment.gpus=2", "training.devices=2"), 2, 2, 2),
        (("deployment.gpus=0",), 1, 1, 0),
        (("deployment.gpus=0", "training.devices=2"), 2, 2, 0),
    ],
)
def test_a_deployed_run_trains_on_the_gpus_that_it_takes(
    write: Callable[..., Path], good: str, overrides: tuple[str, ...], by_hand: int, deployed: int, gpus: int
) -> None:
    spec = load_spec(write(good), overrides)
    assert training_devices(spec) == by_hand
    assert training_devices(as_deployed(spec)) == deployed
    assert deployed_gpus(spec) == gpus


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        (("deployment.gpus=2", "training.devices=4"), "deployment.gpus"),
        (("training.devices=4", "training.batch_size=3"), "training.batch_size"),
        (("deployment.gpus=4", "training.batch_size=3"), "training.batch_size"),
    ],
)
def test_devices_that_contradict_are_refused(
    write: Callable[..., Path], good: str, overrides: tuple[str, ...], path: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(good), overrides)
    assert path in caught.value.problems[0].where


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, ("majority", "knn", "linear_probe", "champion")),
        ({"training": {"epochs": 2}}, ("majority", "champion")),
        ({"backbone": {"source": "timm", "name": "resnet18", "weights": "none"}}, ("majority", "champion")),
        ({"registration": {"gate": {"against_champion": None}}}, ("majority", "knn", "linear_probe")),
        ({"evaluation": {"baselines": []}}, ()),
        ({"evaluation": {"baselines": ["from_scratch"]}}, ("from_scratch",)),
        (
            {
                "task": {"kind": "segmentation"},
                "data": {"format": "mask_folder", "root": "d", "classes": ["a"]},
            },
            ("champion",),
        ),
    ],
)
def test_cheap_baselines_are_on_by_default(sections, expected):
    document = {
        "name": "a",
        "task": {"kind": "classification"},
        "data": {"format": "image_folder", "root": "d"},
        "backbone": {"source": "timm", "name": "resnet18"},
    }
    assert decide_baselines(ExperimentSpec.model_validate(document | sections)) == expected
