"""Every key of the spec changes the key of each stage, or stands on a list that says why not.

A key that is added to the spec and forgotten here, or in a stage's inputs, fails these tests.
"""

from __future__ import annotations

import copy
import fnmatch
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from transferflow.data.records import DatasetSnapshot
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.base import Section
from transferflow.stages.context import RunContext
from transferflow.stages.keys import evaluate_inputs, prepare_inputs, register_inputs, train_inputs
from transferflow.stages.outcome import STAGES
from transferflow.store import digest

GATE_KEYS = ("minimum", "maximum", "against_champion", "also", "per_class_floor", "max_", "slices")
UNTOUCHED = {
    "prepare": {
        "name": "a name; the former snapshot that it leads to is an input by its content",
        "data.cache*": "the cache holds the same pixels",
        "data.image_size": "applied when images are loaded",
        "data.fit*": "applied when images are loaded",
        "backbone.*": "prepare reads data and task alone",
        "freeze.*": "prepare reads data and task alone",
        "head.*": "prepare reads data and task alone",
        "optimizer.*": "prepare reads data and task alone",
        "schedule.*": "prepare reads data and task alone",
        "augmentation.*": "prepare reads data and task alone",
        "training.*": "prepare reads data and task alone",
        "evaluation.*": "prepare reads data and task alone",
        "registration.*": "prepare reads data and task alone",
        "tracking.*": "who is shown the curves; nothing is read from there",
        "deployment.*": "where and when a spec runs",
        "execution.*": "who computes; results are the same",
    },
    "train": {
        "name": "a name",
        "data.cache*": "the cache holds the same pixels",
        "training.device": "where it runs; results agree within rounding",
        "training.devices": "batches, steps and rates are the same for any number; results agree within "
        "rounding, but for what is drawn at random and batch norm that trains, which see one device's images",
        "training.max_restarts": "a training that goes on is the one that was not cut off",
        "training.workers": "batches are the same for any number",
        "training.activation_cache": "computed once or in each epoch, it is the same; views are in the key",
        "training.checkpoint*": "a training that goes on is bit for bit the one that was not cut off",
        "training.on_nan": "decides between an error and the rest of the training; steps left out are said",
        "evaluation.metrics": "what is reported; what chooses the epoch is an input by itself",
        "evaluation.bootstrap": "intervals are of the test images",
        "evaluation.slices*": "slices are of the test images",
        "evaluation.baselines": "baselines stand beside the model",
        "evaluation.specificity": "counts where its metric chooses the epoch, see test_keys.py",
        "registration.model": "a name; the version that a warm start begins with is an input by its key",
        **{f"registration.gate.{key}*": "decides what becomes of a model, not which" for key in GATE_KEYS},
        "tracking.*": "who is shown the curves; nothing is read from there",
        "deployment.*": "where and when a spec runs",
        "execution.*": "who computes; results are the same",
    },
    "evaluate": {
        "name": "a name",
        "data.cache*": "the cache holds the same pixels",
        "training.device": "where it runs; results agree within rounding",
        "training.devices": "batches, steps and rates are the same for any number; results agree within "
        "rounding, but for what is drawn at random and batch norm that trains, which see one device's images",
        "training.max_restarts": "a training that goes on is the one that was not cut off",
        "training.workers": "batches are the same for any number",
        "training.activation_cache": "computed once or in each epoch, it is the same; views are in the key",
        "training.checkpoint*": "a training that goes on is bit for bit the one that was not cut off",
        "training.on_nan": "decides between an error and the rest of the training; steps left out are said",
        "registration.model": "a name",
        **{
            f"registration.gate.{key}*": "decides what becomes of a model, not what is measured"
            for key in GATE_KEYS
        },
        "tracking.*": "who is shown the curves; nothing is read from there",
        "deployment.*": "where and when a spec runs",
        "execution.*": "who computes; results are the same",
    },
    "register": {
        "data.cache*": "the cache holds the same pixels",
        "training.device": "where it runs; results agree within rounding",
        "training.devices": "batches, steps and rates are the same for any number; results agree within "
        "rounding, but for what is drawn at random and batch norm that trains, which see one device's images",
        "training.max_restarts": "a training that goes on is the one that was not cut off",
        "training.workers": "batches are the same for any number",
        "training.activation_cache": "computed once or in each epoch, it is the same; views are in the key",
        "training.checkpoint*": "a training that goes on is bit for bit the one that was not cut off",
        "training.on_nan": "decides between an error and the rest of the training; steps left out are said",
        "tracking.*": "who is shown the curves; nothing is read from there",
        "deployment.*": "where and when a spec runs",
        "execution.*": "who computes; results are the same",
    },
}
"""Per stage: which keys do not change its key, and why."""

SNAPSHOT_UNTOUCHED = {
    "path": "where it is kept",
    "root": "where the images lie; what they are is in the fingerprint",
    "classes": "in the fingerprint",
    "channels": "from the spec, whose own key it is",
    "counts": "follow from the splits, which are in the fingerprint",
    "class_counts": "follow from labels and splits, which are in the fingerprint",
    "quarantined": "a number for people",
    "view": "from the spec, whose own keys they are",
    "coding": "in the fingerprint",
    "links": "where links may lead; what lies there is in the fingerprint",
}
CONTEXT_UNTOUCHED = {
    "home": "where artifacts are kept",
    "interactive": "progress bars or lines",
    "wait": "whether to wait for another process",
    "verify": "how files are looked at; what they hold is in the fingerprint",
    "apart": "in which process it trains, from the same checkpoints to the same bits",
    "owner": "on which machines it trains",
}

BASES = {
    "folder": {
        "data": {
            "format": "image_folder",
            "root": "r",
            "classes": ["a", "b"],
            "image_size": 32,
            "fit": "crop",
            "intensity": {"kind": "percentile"},
            "split": {"group_by": "patient"},
        },
        "backbone": {
            "source": "timm",
            "name": "resnet18",
            "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
        },
        "freeze": {"policy": "until", "until": "layer1"},
        "head": {"kind": "linear", "hidden": [8], "warm_start": "champion"},
        "training": {
            "early_stopping": {"patience": 3},
            "ema": 0.9,
            "class_weights": {"a": 2.0},
            "gradient_clip": 1.0,
        },
        "evaluation": {
            "metrics": ["accuracy", "auroc", "macro_f1", "ece"],
            "slices": [{"by": "age", "bins": [40.0]}],
            "conformal": 0.9,
            "thresholds": {"choose": "sensitivity", "at_least": 0.9},
        },
        "registration": {
            "model": "m",
            "gate": {
                "metric": "accuracy",
                "minimum": 0.5,
                "against_champion": {"family_error": 0.05, "horizon": 52},
                "also": [{"metric": "auroc", "minimum": 0.5, "against_champion": {"margin": 0.0}}],
                "per_class_floor": {"recall": 0.1},
                "slices": {"metric": "accuracy", "minimum": 0.5},
            },
        },
        "deployment": {"schedule": {"cron": "0 3 * * 1"}, "refresh": {"poll": "*/30 * * * *", "drift": {}}},
        "augmentation": {"preset": "none", "mixup": 0.1, "cutmix": 0.1},
    },
    "table": {
        "task": {"kind": "classification", "multilabel": True},
        "data": {
            "format": "csv",
            "root": "r",
            "file": "a.csv",
            "intensity": {"kind": "window", "level": 0.0, "width": 1.0},
        },
        "backbone": {"source": "torchvision", "name": "resnet18"},
        "freeze": {"policy": "layers", "layers": ["layer1"]},
        "optimizer": {"kind": "sgd", "layer_lr": {"layer2": 1e-4}, "layer_decay": 0.9},
        "schedule": {"kind": "constant"},
        "deployment": {"schedule": {"interval": "6h"}},
        "execution": {"prepare": {"kind": "dask", "address": "tcp://10.0.0.7:8786"}},
    },
    "prompts": {
        "backbone": {"source": "timm", "name": "vit_base_patch16_clip_224", "weights": "openai"},
        "head": {"kind": "zero_shot"},
    },
    "texts": {
        "backbone": {"source": "timm", "name": "vit_base_patch16_clip_quickgelu_224", "weights": "openai"},
        "head": {"kind": "linear", "init": "text"},
        "augmentation": {"transforms": [{"name": "HorizontalFlip"}], "mixup": 0.1, "cutmix": 0.1},
    },
    "coco": {
        "task": {"kind": "detection"},
        "data": {
            "format": "coco",
            "root": "r",
            "annotations": {"train": "a.json", "val": "b.json", "test": "c.json"},
        },
        "backbone": {"source": "checkpoint", "name": "resnet50", "weights": "w.pth", "key_map": {"a": "b"}},
        "freeze": {
            "policy": "phases",
            "phases": [{"epochs": 1, "train": ["head"]}, {"epochs": 1, "train": ["*"]}],
        },
        "optimizer": {"backbone_lr_scale": 0.1},
        "head": {"kind": "fcos"},
    },
    "voc": {
        "task": {"kind": "detection"},
        "data": {"format": "voc", "root": "r"},
        "deployment": {"schedule": {"rrule": "FREQ=DAILY"}},
    },
    "yolo": {
        "task": {"kind": "detection"},
        "data": {"format": "yolo", "root": "r"},
        "freeze": {"policy": "backbone"},
    },
    "masks": {
        "task": {"kind": "segmentation"},
        "data": {
            "format": "mask_folder",
            "root": "r",
            "encoding": "rgb",
            "colours": {"a": [0, 0, 0], "b": [1, 1, 1]},
        },
        "backbone": {"source": "package", "name": "tf_efficientnet_lite0"},
        "head": {"kind": "lite", "output_stride": 4, "dropout": 0.1},
        "augmentation": {
            "transforms": [
                {"name": "HorizontalFlip", "args": {"p": 1}},
                {"one_of": [{"name": "VerticalFlip"}, {"name": "Transpose"}]},
            ]
        },
    },
    "whole": {
        "task": {"kind": "segmentation"},
        "data": {
            "format": "coco",
            "root": "r",
            "annotations": "a.json",
            "fit": {"shorter": 64, "longer": 128, "crop": 48, "tile": 96},
        },
        "augmentation": {"preset": "none", "scale": [0.5, 2.0]},
        "evaluation": {"mask_size": "resized"},
    },
    "windows": {
        "task": {"kind": "segmentation"},
        "data": {"format": "coco", "root": "r", "annotations": "a.json", "fit": {"crop": 48}},
        "augmentation": {"transforms": [{"name": "HorizontalFlip"}], "scale": [0.5, 2.0]},
    },
    "numbers": {
        "task": {"kind": "regression"},
        "data": {"format": "csv", "root": "r", "file": "a.csv"},
        "training": {"activation_cache": {"views": 2}},
        "evaluation": {"slices": [{"by": "site"}]},
        "registration": {
            "gate": {
                "maximum": 2.0,
                "also": [{"metric": "rmse", "maximum": 2.0}],
                "slices": {"by": "site", "maximum": 3.0},
            }
        },
    },
    "dicom": {
        "data": {"format": "dicom", "root": "r", "file": "a.csv"},
        "freeze": {"policy": "none"},
        "optimizer": {"kind": "sgd"},
    },
}
"""Documents that together have every key of the spec; what they leave out is the default."""

FIXED = {"kind", "format", "source", "policy", "library"}
"""Keys that choose a variant: each has a document, or a variant of the same shape."""

OTHERS = {
    "data.classes": [["b", "a"]],
    "data.columns.*": ["other"],
    "data.fit": ["stretch"],
    "data.fit.longer": [256],
    "data.fit.*": [32],
    "data.link_roots": [["cache"]],
    "data.colours": [{"a": [0, 0, 0], "b": [2, 2, 2]}, {"a": [1, 1, 1], "b": [0, 0, 0]}],
    "data.encoding": ["index"],
    "data.void_colours": [[[9, 9, 9]]],
    "backbone.normalization.*": [[0.25] * 3],
    "backbone.name": ["resnet50"],
    "backbone.sha256": ["0" * 64],
    "backbone.key_map": [{"a": "c"}],
    "freeze.layers": [["layer3"]],
    "head.hidden": [[4]],
    "head.prompts": [["a {}"]],
    "head.pyramid_channels": [64],
    "optimizer.layer_lr": [{"layer2": 1e-3}],
    "optimizer.betas": [[0.8, 0.9]],
    "training.workers": [2],
    "training.class_weights": [{"a": 3.0}, "balanced"],
    "training.early_stopping.metric": ["auroc"],
    "training.early_stopping": [{"patience": 2}],
    "evaluation.metrics": [["accuracy"], ["accuracy", "auroc", "ece"]],
    "evaluation.conformal": [0.8],
    "evaluation.thresholds.at_least": [0.8],
    "evaluation.thresholds": [{"choose": "f1"}],
    "evaluation.baselines": [["from_scratch"], []],
    "evaluation.slices.*.bins": [[50.0], [10.0]],
    "registration.gate.metric": ["macro_f1", "auroc"],
    "registration.gate.slices.by": [None, "age"],
    "registration.gate.slices.metric": ["auroc", "rmse"],
    "registration.gate.also.*.metric": ["macro_f1"],
    "registration.gate.per_class_floor": [{"recall": 0.2}],
    "freeze.phases.*.train": [["layer4", "head"]],
    "augmentation.scale": [[0.5, 1.5]],
    "augmentation.*.args": [{"p": 0.5}],
    "deployment.schedule.cron": ["0 4 * * 1"],
    "execution.prepare": [{"kind": "dask", "address": "tcp://10.0.0.7:8786"}],
    "deployment.schedule.timezone": ["Europe/Berlin"],
    "deployment.schedule.interval": ["2h"],
    "deployment.schedule.rrule": ["FREQ=WEEKLY"],
    "execution.prepare.address": ["tcp://10.0.0.8:8786"],
    "deployment.schedule": [{"cron": "0 4 * * 1"}],
    "deployment.refresh": [{"poll": "0 4 * * 1"}],
    "deployment.refresh.timezone": ["Europe/Berlin"],
    "deployment.refresh.min_new_per_class": [5],
    "deployment.refresh.max_age_days": [7.0],
    "deployment.refresh.poll": ["0 5 * * *"],
    "deployment.refresh.drift.p_value": [0.05],
    "deployment.refresh.drift.images": [100],
}
"""Other values of keys whose type does not suggest one."""

TOGETHER = {
    "data.split.train": {"train": 0.6, "val": 0.3, "test": 0.1},
    "data.split.val": {"train": 0.7, "val": 0.2, "test": 0.1},
    "data.split.test": {"train": 0.7, "val": 0.1, "test": 0.2},
    "data.encoding": {"encoding": "index", "colours": None},
    "registration.gate.against_champion.mode": {"margin": 0.01},
    "registration.gate.also.0.against_champion.mode": {"margin": 0.01},
}
"""Keys that a rule ties to others, and what stands there then."""


def build(name):
    document = {
        "name": "tiny",
        "task": {"kind": "classification"},
        "data": {"format": "image_folder", "root": "r"},
        "backbone": {"source": "torchvision", "name": "resnet50"},
    }
    return ExperimentSpec.model_validate(document | copy.deepcopy(BASES[name]))


def leaves(value, path=()):
    """Path and section of every key that holds no section itself."""
    for name in type(value).model_fields:
        found, here = getattr(value, name), (*path, name)
        parts = found if isinstance(found, tuple) else (found,)
        if all(isinstance(part, BaseModel) for part in parts) and parts:
            for place, part in enumerate(parts):
                yield from leaves(part, (*here, place) if isinstance(found, tuple) else here)
        elif name not in FIXED:
            yield here, type(value)


def text_of(path):
    return ".".join(str(part) for part in path)


def other_values(path, value, annotation):
    for pattern, values in OTHERS.items():
        if fnmatch.fnmatchcase(text_of(path), pattern):
            yield from values
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value - 1, value * 2)
        case float():
            yield from (value / 2, value + 0.05, value * 0.9, 0.3)
        case str():
            yield from (*literals(annotation), f"{value}x", "0" * 64)
        case None:
            yield from (
                *literals(annotation),
                0.5,
                2,
                64,
                "x",
                ["x"],
                [0.5],
                "0" * 64,
                {"mean": [0.1] * 3, "std": [0.1] * 3},
            )


def literals(annotation):
    """Every literal that an annotation names, however deep."""
    found = getattr(annotation, "__args__", ())
    for part in found:
        if isinstance(part, str | int) and not isinstance(part, bool):
            yield part
        else:
            yield from literals(part)


def changed(spec, path):
    """The same spec with another value at `path`, the first that is allowed; `None` if none is."""
    document = spec.model_dump(mode="json")
    *above, last = path
    place = document
    for part in above:
        place = place[part]
    section = spec
    for part in above:
        section = section[part] if isinstance(part, int) else getattr(section, part)
    annotation = type(section).model_fields[last].annotation
    before = place[last]
    for value in other_values(path, before, annotation):
        if value == before:
            continue
        place[last] = value
        place.update(TOGETHER.get(text_of(path), {}))
        try:
            return ExperimentSpec.model_validate(document)
        except ValidationError:
            continue
    return None


def keys_of(spec, snapshot, context=None):
    """Key of each stage."""
    prepared = prepare_inputs(spec, "files")
    trained = train_inputs(spec, snapshot)
    evaluated = evaluate_inputs(spec, snapshot, digest(trained))
    registry = (context or RunContext(Path("home"))).registry
    registered = register_inputs(spec, digest(evaluated), registry.identity)
    return dict(zip(STAGES, map(digest, (prepared, trained, evaluated, registered)), strict=True))


def reason(stage, path):
    return next((why for key, why in UNTOUCHED[stage].items() if fnmatch.fnmatchcase(path, key)), None)


@pytest.fixture(scope="module")
def changes(make_snapshot):
    """Each key of each document, changed: its section, and which stages' keys changed with it.

    The snapshot is taken to change with whatever prepare reads.
    """

    def keys(spec):
        return keys_of(spec, make_snapshot(digest(prepare_inputs(spec, "files"))))

    found = []
    for name in BASES:
        spec = build(name)
        before = keys(spec)
        for path, section in leaves(spec):
            other = changed(spec, path)
            if other is not None:  # otherwise a rule of this document's task or head forbids it
                after = keys(other)
                moved = {stage for stage in STAGES if before[stage] != after[stage]}
                found.append((text_of(path), section, moved))
    return found


def test_every_key_of_the_spec_is_in_the_key_of_a_stage_or_on_its_list(changes):
    wrong = {
        (path, stage, "changes it" if stage in moved else "does not change it")
        for path, _, moved in changes
        for stage in STAGES
        if (stage in moved) == (reason(stage, path) is not None)
    }
    assert not wrong


def test_every_key_of_every_section_was_changed(changes):
    def sections(parent):
        for child in parent.__subclasses__():
            if child.__module__.startswith("transferflow.spec"):
                yield child
                yield from sections(child)

    done = {(section, path.rpartition(".")[2]) for path, section, _ in changes}
    holders = {"task", "data", "backbone", "freeze", "head", "optimizer", "schedule", "augmentation"}
    missing = {
        f"{section.__name__}.{field}"
        for section in sections(Section)
        if not section.__name__.startswith("_") and not section.__subclasses__()
        for field, info in section.model_fields.items()
        if field not in FIXED | holders
        and (section, field) not in done
        and len(list(literals(info.annotation))) != 1
        and not _holds_sections(info.annotation)
    }
    assert not missing


def _holds_sections(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_holds_sections(part) for part in getattr(annotation, "__args__", ()))


def test_no_entry_of_a_list_is_stale(changes):
    paths = {path for path, _, _ in changes}
    for stage, listed in UNTOUCHED.items():
        for pattern in listed:
            assert fnmatch.filter(paths, pattern), (stage, pattern)


def test_what_a_snapshot_says_is_in_a_key_or_on_the_list(make_snapshot):
    spec = build("folder")
    snapshot = make_snapshot()
    before = keys_of(spec, snapshot)
    for field in fields(DatasetSnapshot):
        value = getattr(snapshot, field.name)
        other = (
            {"test": "x"}
            if isinstance(value, dict) or value is None
            else type(value)("x")
            if not isinstance(value, int)
            else value + 1
        )
        if field.name in ("ids", "groups"):
            other = {**value, "test": "x" * 64}
        after = keys_of(spec, replace(snapshot, **{field.name: other}))
        assert (before["register"] == after["register"]) == (field.name in SNAPSHOT_UNTOUCHED), field.name


def test_names_and_groups_count_where_they_are_used(make_snapshot):
    spec = build("folder")
    snapshot = make_snapshot()
    before = keys_of(spec, snapshot)

    def stages_that_change(**changes):
        after = keys_of(spec, replace(snapshot, **changes))
        return [stage for stage in STAGES if before[stage] != after[stage]]

    other = "x" * 64
    assert stages_that_change(ids={**snapshot.ids, "test": other}) == ["evaluate", "register"]
    assert stages_that_change(ids={**snapshot.ids, "train": other}) == ["train", "evaluate", "register"]
    assert stages_that_change(groups={**snapshot.groups, "test": other}) == ["evaluate", "register"]
    assert stages_that_change(groups={**snapshot.groups, "train": other}) == []


def test_what_surrounds_a_run_is_in_a_key_or_on_the_list(make_snapshot, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    spec, context = build("folder"), RunContext(Path("home"))
    others = {
        "home": Path("other"),
        "tracking_uri": "http://mlflow",
        "interactive": True,
        "wait": False,
        "verify": True,
        "apart": True,
        "owner": object(),
    }
    before = keys_of(spec, make_snapshot(), context)
    for field in fields(RunContext):
        after = keys_of(spec, make_snapshot(), replace(context, **{field.name: others[field.name]}))
        assert (before == after) == (field.name in CONTEXT_UNTOUCHED), field.name


def test_inputs_are_plain_json():
    for name in BASES:
        prepared = prepare_inputs(build(name), "files")
        assert json.loads(json.dumps(prepared)) == prepared
