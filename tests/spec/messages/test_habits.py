"""Habits from other tools: each gets a line that can be pasted, and the pasted spec is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import get_args

import pytest

from transferflow.errors import Problem
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.habits.keys import MOVED, TOLD
from transferflow.spec.habits.values import METRICS, TOLD_MISSING, TOLD_VALUES, VALUES, known_metric
from transferflow.spec.load import ROOT
from transferflow.spec.merging.shape import ListShape, ScalarShape, SectionShape, Shape, VariantsShape, slots
from transferflow.spec.sections import metrics
from transferflow.spec.sections.data import FitMode

ProblemsOf = Callable[..., tuple[Problem, ...]]

SECTIONS = {
    "name": "name: pets",
    "task": "task: {kind: classification}",
    "data": "data: {format: image_folder, root: pets}",
    "backbone": "backbone: {source: torchvision, name: resnet50}",
}
# The line that was written, and the line that the hint gives.
SLIPS: list[tuple[str, str]] = [
    ("imgsz: 640", "image_size: 640` into `data"),
    ("batch: 16", "training: {batch_size: 16}"),
    ("bs: 64", "training: {batch_size: 64}"),
    ("gpus: 4", "training: {devices: 4}"),
    ("lr0: 0.01", "optimizer: {lr: 0.01}"),
    ("learning_rate: 5e-5", "optimizer: {lr: 5e-5}"),
    ("max_epochs: 10", "training: {epochs: 10}"),
    ("num_train_epochs: 3", "training: {epochs: 3}"),
    ("momentum: 0.9", "optimizer: {kind: sgd, momentum: 0.9}"),
    ("patience: 7", "training: {early_stopping: {patience: 7}}"),
    ("device: 0", "training: {device: cuda}"),
    ("fp16: true", "training: {precision: auto}"),
    ("optim: adam", "optimizer: {kind: adamw}"),
    ("lr_scheduler: onecycle", "schedule: {kind: cosine}"),
    ("grad_clip: 1.0", "training: {gradient_clip: 1.0}"),
    ("class_weight: balanced", "training: {class_weights: balanced}"),
    (
        "augmentations: [HorizontalFlip, Blur]",
        "augmentation: {transforms: [{name: HorizontalFlip}, {name: Blur}]}",
    ),
    ("freeze_backbone: true", "freeze: {policy: backbone}"),
    ("names: [cat, dog]", "classes: [cat, dog]` into `data"),
    ("threshold: 0.9", ""),
    ("metrics: [accuracy, ece]", "evaluation: {metrics: [accuracy, ece]}"),
    ("freeze: true", "freeze: {policy: backbone}"),
    ("freeze: false", "freeze: {policy: none}"),
    ("freeze: [layer1, layer2]", "freeze: {policy: layers, layers: [layer1, layer2]}"),
    ("augmentation: true", "augmentation: {preset: similar_domain}"),
    ("augmentation: [HorizontalFlip]", "augmentation: {transforms: [{name: HorizontalFlip}]}"),
    ("optimizer: SGD", "optimizer: {kind: sgd}"),
    ("schedule: linear", "schedule: {kind: cosine}"),
    ("head: deeplab", ""),
]
NESTED: list[tuple[str, str, str]] = [
    ("training", "early_stopping: true", "early_stopping: {patience: 5}"),
    ("training", "early_stopping: 10", "early_stopping: {patience: 10}"),
    ("training", "early_stopping: false", "early_stopping: null"),
    ("training", "class_weights: true", "class_weights: balanced"),
    ("training", "precision: 16-mixed", "precision: fp16"),
    ("training", "device: gpu", "device: cuda"),
    ("training", "ema: true", "ema: 0.999"),
    ("training", "label_smoothing: 10", "label_smoothing: 0.1"),
    ("optimizer", "type: SGD", "kind: sgd` into `optimizer"),
    ("optimizer", "lr: '0,001'", "lr: 0.001"),
    ("schedule", "warmup: 3", "warmup_epochs: 3` into `schedule"),
    ("registration", "gate: 0.9", "gate: {minimum: 0.9}"),
    ("registration", "gate: {minimum: 95%}", "minimum: 0.95"),
    ("registration", "gate: {minimum: 95}", "minimum: 0.95"),
    ("deployment", "schedule: daily", "schedule: {cron: '0 3 * * *'}"),
    ("deployment", "schedule: 6h", "schedule: {interval: 6h}"),
]
INSTEAD: list[tuple[str, str, str]] = [
    ("backbone", "resnet50", "backbone: {source: torchvision, name: resnet50}"),
    ("backbone", "convnext_small.fb_in22k", "backbone: {source: timm, name: convnext_small.fb_in22k}"),
    ("backbone", "tf_efficientnet_lite0", "backbone: {source: package, name: tf_efficientnet_lite0}"),
    ("backbone", "chexpert.pth", "backbone: {source: checkpoint, name: resnet50, weights: chexpert.pth}"),
    ("task", "classify", "task: {kind: classification}"),
    ("data", "my images", "data: {format: image_folder, root: 'my images'}"),
]
IN_DATA: list[tuple[str, str]] = [
    ("split: 0.2", "split: {train: 0.7, val: 0.1, test: 0.2}"),
    ("split: [80, 10, 10]", "split: {train: 0.8, val: 0.1, test: 0.1}"),
    ("image_size: '224,224'", "image_size: 224"),
    ("image_size: 224x224", "image_size: 224"),
    ("image_size: [64]", "image_size: 64"),
    ("image_size: [224, 224, 3]", "image_size: 224"),
    ("image_size: [3, 224, 320]", "image_size: [224, 320]"),
    ("classes: {0: cat, 1: dog}", "classes: [cat, dog]"),
    ("cache: false", "cache: null"),
    ("channels: gray", "channels: 1"),
    ("fit: pad", "fit: letterbox"),
    ("intensity: minmax", "intensity: {kind: percentile}"),
]


def spec(**changed: str) -> str:
    return "\n".join((SECTIONS | changed).values()) + "\n"


def pasted(problems: tuple[Problem, ...]) -> str:
    """What stands between the first pair of backticks after `write` or `put`."""
    (problem,) = problems
    found = re.search(r"(?:write|put) `(.*?)`(?:$| into)", problem.hint)
    return found.group(1) if found else ""


@pytest.mark.parametrize(("line", "hint"), SLIPS, ids=[line for line, _ in SLIPS])
def test_a_line_that_can_be_pasted(problems_of: ProblemsOf, line: str, hint: str) -> None:
    problems = problems_of(spec(more=line))
    if not hint:
        assert problems[0].allowed
        return
    assert f"`{hint}`" in problems[0].hint
    into = re.search(r"into `(\w+)`", problems[0].hint)
    if into:
        section = SECTIONS[into.group(1)]
        assert not problems_of(spec(**{into.group(1): f"{section[:-1]}, {pasted(problems)}}}"}))
    else:
        assert not problems_of(spec(more=pasted(problems)))


@pytest.mark.parametrize(("section", "line", "hint"), NESTED, ids=[row[1] for row in NESTED])
def test_a_line_inside_a_section(problems_of: ProblemsOf, section: str, line: str, hint: str) -> None:
    problems = problems_of(spec(more=f"{section}: {{{line}}}"))
    assert f"`{hint}`" in problems[0].hint
    inner = pasted(problems)
    whole = f"gate: {{{inner}}}" if line.startswith("gate: {") else inner
    assert not problems_of(spec(more=f"{section}: {{{whole}}}"))


@pytest.mark.parametrize(("section", "value", "hint"), INSTEAD, ids=[row[1] for row in INSTEAD])
def test_a_word_instead_of_a_section(problems_of: ProblemsOf, section: str, value: str, hint: str) -> None:
    problems = problems_of(spec(**{section: f"{section}: {value}"}))
    assert pasted(problems) == hint
    assert not problems_of(spec(**{section: hint}))


@pytest.mark.parametrize(("line", "hint"), IN_DATA, ids=[line for line, _ in IN_DATA])
def test_a_line_of_the_data(problems_of: ProblemsOf, line: str, hint: str) -> None:
    problems = problems_of(spec(data=f"{SECTIONS['data'][:-1]}, {line}}}"))
    assert pasted(problems) == hint
    assert not problems_of(spec(data=f"{SECTIONS['data'][:-1]}, {hint}}}"))


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ("{train: 0.7}", "val and test left out: the default); write {train: 0.7, val: 0.15, test: 0.15}"),
        ("{train: 0.8, val: 0.2}", "found 1.1: train 0.8, val 0.2, test 0.1 (test left out: the default)"),
        ("{train: 0.5, val: 0.1, test: 0.1}", "found 0.7: train 0.5, val 0.1, test 0.1"),
    ],
)
def test_shares_that_do_not_sum_to_one(problems_of: ProblemsOf, split: str, text: str) -> None:
    (problem,) = problems_of(spec(data=f"{SECTIONS['data'][:-1]}, split: {split}}}"))
    assert problem.what.endswith(text)


def test_what_the_spec_has_already_is_said(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(spec(more="model: resnet18"))
    assert problem.hint == "here it is `backbone`, which the spec has already: remove this"


@pytest.mark.parametrize(
    ("task", "word", "meant"),
    [
        (metrics.SINGLE_LABEL, "f1", "macro_f1"),
        (metrics.SINGLE_LABEL, "val_acc", "accuracy"),
        (metrics.MULTI_LABEL, "ROC-AUC", "auroc"),
        (metrics.DETECTION, "mAP@0.5", "map50"),
        (metrics.DETECTION, "mAP50-95", "map"),
        (metrics.SEGMENTATION, "f1", "dice"),
        (metrics.SEGMENTATION, "Jaccard", "miou"),
        (metrics.SEGMENTATION, "auc", ""),
    ],
)
def test_metrics_of_other_names(task: metrics.TaskMetrics, word: str, meant: str) -> None:
    assert known_metric(word, task.names) == meant


def _paths(shape: Shape, path: str = "") -> Iterator[tuple[str, Shape]]:
    """Every path of a spec, as the tables spell it, with what may stand there."""
    if path:
        yield path, shape
    models = [shape.model] if isinstance(shape, SectionShape) else []
    if isinstance(shape, VariantsShape):
        models = list(dict.fromkeys(shape.variants.values()))
    if isinstance(shape, ListShape):
        yield from _paths(shape.item.shape, f"{path}.*")
    for model in models:
        for key, slot in slots(model).items():
            yield from _paths(slot.shape, f"{path}.{key}".lstrip("."))


def test_the_tables_name_what_there_is() -> None:
    paths = list(_paths(ROOT.shape))
    known = {path for path, _ in paths}
    assert {target for target in MOVED.values() if "." in target} <= known
    assert known.issuperset([*TOLD_MISSING, *TOLD_VALUES])
    assert not set(ExperimentSpec.model_fields) & {*MOVED, *TOLD}
    choices: dict[str, set[str]] = {}
    for path, shape in paths:
        if isinstance(shape, ScalarShape):
            choices.setdefault(path, set()).update(shape.choices)
    for path, words in VALUES.items():
        allowed = choices.get(path) or {"balanced", "auto", "null", "1", "3", *get_args(FitMode)}
        assert allowed.issuperset(words.values()), path
    names = {name for words in METRICS.values() for name in words}
    tasks = (metrics.SINGLE_LABEL, metrics.MULTI_LABEL, metrics.DETECTION, metrics.SEGMENTATION)
    assert names <= {name for task in tasks for name in task.names}
