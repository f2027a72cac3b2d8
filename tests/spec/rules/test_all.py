"""Rules between sections: what they refuse beyond test_explain.py, and what they must let through."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.errors import Problem
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.load import load_spec, preset_names

ProblemsOf = Callable[..., tuple[Problem, ...]]

SHAPE = "{shorter: 800, longer: 1333}"
CLIP = """\
name: a
task: {kind: classification}
data: {format: image_folder, root: d}
backbone: {source: timm, name: vit_base_patch16_clip_quickgelu_224.openai}
head: {kind: zero_shot, prompts: ["a photo of a {}.", "a drawing of a {}."]}
"""


@pytest.mark.parametrize(
    ("overrides", "path", "what"),
    [
        (("optimizer.lr=1",), "optimizer", "trains nothing"),
        (("schedule.warmup_epochs=1",), "schedule", "trains nothing"),
        (("freeze={policy: until, until: blocks.3}",), "freeze.policy", "trains nothing"),
        (("training.epochs=3",), "training.epochs", "trains nothing"),
        (("training.early_stopping={}",), "training.early_stopping", "trains nothing"),
        (("training.label_smoothing=0.1",), "training.label_smoothing", "trains nothing"),
        (("augmentation.mixup=0.2",), "augmentation.mixup", "trains nothing"),
        (("task.multilabel=true", "data.format=csv", "data.root=d", "data.file=f"), "head.kind", "one class"),
    ],
)
def test_a_zero_shot_head_trains_nothing(
    problems_of: ProblemsOf, overrides: tuple[str, ...], path: str, what: str
) -> None:
    (problem,) = problems_of(CLIP, overrides)
    assert problem.where.endswith(f": {path}")
    assert what in problem.what


@pytest.mark.parametrize(
    "override", ["training.batch_size=8", "freeze.policy=backbone", "training.seed=1", "training.epochs=0"]
)
def test_a_zero_shot_head_has_other_settings(problems_of: ProblemsOf, override: str) -> None:
    assert not problems_of(CLIP, (override,))


@pytest.mark.parametrize(
    ("overrides", "path", "what"),
    [
        (("task.multilabel=true",), "task.multilabel", "use a table"),
        (
            ("task.multilabel=true", "data={format: dicom, root: d}"),
            "task.multilabel",
            "use a table",
        ),
        (("backbone.weights=none", "freeze.policy=backbone"), "freeze.policy", "freezes random weights"),
        (("backbone.weights=None", "freeze.policy=backbone"), "freeze.policy", "freezes random weights"),
        (
            ("backbone.normalization={mean: [0.5], std: [0.5]}",),
            "backbone.normalization.mean",
            "one per channel",
        ),
        (("backbone.normalization={mean: [0.5, 0.5], std: [0.5]}",), "backbone.normalization", "2 values"),
        (
            (
                "backbone={source: checkpoint, name: resnet50, weights: a.pt, "
                "normalization: {mean: [0, 0], std: [1, 1]}}",
                "data.channels=1",
            ),
            "backbone.normalization.mean",
            "one per channel",
        ),
        (
            ("backbone={source: checkpoint, name: resnet50, weights: 'https://h/a.pt'}",),
            "backbone",
            "need `sha256`",
        ),
        (
            (
                "task={kind: segmentation, ignore_index: 2}",
                "data={format: mask_folder, root: d, classes: [sky, disc, square]}",
            ),
            "task.ignore_index",
            "2 is the value of the class square.*allowed: 3 to 255",
        ),
        (
            (
                "task={kind: segmentation, ignore_index: 0}",
                "data={format: mask_folder, root: d, encoding: rgb, colours: {sky: [0, 0, 0]}}",
            ),
            "task.ignore_index",
            "0 is the value of the class sky",
        ),
        (("task={kind: detection}", "data={format: yolo, root: d, fit: crop}"), "data.fit", "would lose"),
        (
            ("task={kind: detection}", f"data={{format: yolo, root: d, image_size: 64, fit: {SHAPE}}}"),
            "data.image_size",
            "leave one of the two out",
        ),
        ((f"data.fit={SHAPE}",), "data.fit", "classification sees images of one size"),
        (
            (
                "task={kind: detection}",
                f"data={{format: yolo, root: d, fit: {SHAPE}}}",
                "training.activation_cache={views: 2}",
            ),
            "training.activation_cache",
            "activations of any size",
        ),
        *(
            (
                (
                    "freeze={policy: backbone}",
                    "training.activation_cache={views: 2}",
                    f"augmentation.{name}=0.2",
                ),
                "training.activation_cache",
                f"{name} mixes images anew in each batch",
            )
            for name in ("mixup", "cutmix")
        ),
        (
            ("task={kind: detection}", "data={format: yolo, root: d, fit: {shorter: 800}}"),
            "data.fit",
            "needs `shorter` and `longer`",
        ),
        (
            ("task={kind: segmentation}", "data={format: mask_folder, root: d, fit: {shorter: 520}}"),
            "data.fit",
            "the window that training cuts out",
        ),
        (
            (
                "task={kind: detection}",
                "data={format: yolo, root: d, fit: {shorter: 64, longer: 96, tile: 64}}",
            ),
            "data.fit.tile",
            "is for segmentation",
        ),
        (("augmentation.scale=[0.5, 2.0]",), "augmentation.scale", "no window is cut afterwards"),
        (("data.split={train: 0, val: 0, test: 1}",), "data.split", "goes with training.epochs 0"),
        (("data.split={train: 0, val: 0.5, test: 0.5}",), "data.split", "must be above 0"),
        (
            ("data.split={train: 0, val: 0, test: 1}", "training.epochs=0", "head.init=prototypes"),
            "data.split",
            "no image to train on, which head.init prototypes begins with",
        ),
        (
            ("data.split={train: 0, val: 0, test: 1}", "training.epochs=0", "evaluation.calibrate=true"),
            "evaluation.calibrate",
            "chosen on validation images",
        ),
        (
            (
                "data.split={train: 0, val: 0, test: 1}",
                "training.epochs=0",
                "evaluation.baselines=[majority]",
            ),
            "evaluation.baselines.0",
            "of the training images",
        ),
        (("evaluation.mask_size=resized",), "evaluation.mask_size", "is for segmentation"),
        (
            (
                "task={kind: segmentation}",
                "data={format: mask_folder, root: d, fit: {crop: 48}}",
                "evaluation.mask_size=resized",
            ),
            "evaluation.mask_size",
            "a size to which images are brought",
        ),
        (
            (
                "task={kind: detection}",
                "data={format: yolo, root: d}",
                "training.epochs=0",
                "backbone.weights=IMAGENET1K_V2",
            ),
            "training.epochs",
            "COCO_V1",
        ),
        (
            (
                "task={kind: detection}",
                "data={format: yolo, root: d}",
                "head.kind=fcos",
                "backbone={source: checkpoint, name: fasterrcnn_resnet50_fpn_v2, weights: w.pth}",
            ),
            "backbone.name",
            "a whole model: it goes with head.kind faster_rcnn",
        ),
        (
            (
                "data.image_size=64",
                "augmentation={transforms: [{one_of: [{name: HorizontalFlip}, "
                "{name: RandomCrop, args: {height: 65}}]}]}",
            ),
            "augmentation.transforms.0.one_of.1.args.height",
            "RandomCrop of 65 is larger than",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    problems_of: ProblemsOf, good: str, overrides: tuple[str, ...], path: str, what: str
) -> None:
    (problem,) = problems_of(good, overrides)
    assert problem.where.endswith(f": {path}")
    assert re.search(what, problem.what)


@pytest.mark.parametrize(
    "overrides",
    [
        ("task.multilabel=true", "data={format: csv, root: d, file: f}", "augmentation.mixup=0.2"),
        ("backbone.weights=none",),
        ("backbone.weights=none", "freeze={policy: phases, phases: [{epochs: 1, train: ['*']}]}"),
        ("backbone.normalization={mean: [0.5], std: [0.5]}", "data.channels=1"),
        (
            "backbone={source: checkpoint, name: resnet50, weights: a.pt, "
            "normalization: {mean: [0, 0, 0], std: [1, 1, 1]}}",
            "data.channels=1",
        ),
        ("data.split.group_by=patient",),
        (
            "task={kind: segmentation, ignore_index: 3}",
            "data={format: mask_folder, root: d, classes: [sky, disc, square]}",
        ),
        ("data.fit=letterbox",),
        ("task={kind: detection}", "data={format: yolo, root: d, fit: stretch}"),
        ("freeze={policy: layers, layers: [layer1]}", "optimizer.layer_lr={layer2: 1e-3, 'layer*': 1e-4}"),
        (
            "freeze={policy: phases, phases: [{epochs: 1, train: ['layer*']}]}",
            "optimizer.layer_lr.layer4=1e-3",
        ),
        ("freeze={policy: phases, phases: [{epochs: 1, train: [layer4]}]}", "optimizer.layer_lr.layer*=1e-3"),
        (
            "freeze={policy: phases, phases: [{epochs: 1, train: ['blocks.[3-6]', head]}]}",
            "optimizer.layer_lr={'blocks.[45]': 1e-4}",
        ),
        (
            "freeze={policy: layers, layers: ['blocks.?']}",
            "optimizer.layer_lr={'blocks.*': 1e-4}",
        ),
        ("evaluation.metrics=[auroc]", "registration.gate.metric=auroc"),
        ("registration.gate.metric=sensitivity_at_specificity",),
        ("training.class_weights={a: 1}",),
        ("data.classes=[a, b]", "training.class_weights={a: 1}"),
        (
            "data.image_size=64",
            "augmentation={transforms: [{name: RandomCrop, args: {height: 64}}]}",
        ),
    ],
)
def test_what_fits_is_let_through(problems_of: ProblemsOf, good: str, overrides: tuple[str, ...]) -> None:
    assert not problems_of(good, overrides)


DATA = {
    "detection": "{format: coco, root: d, annotations: {train: a, val: b, test: c}}",
    "segmentation": "{format: mask_folder, root: d, encoding: rgb, colours: {a: [0, 0, 0]}}",
}


@pytest.mark.parametrize("name", preset_names())
def test_a_spec_written_out_whole_reads_back_the_same(name: str, write: Callable[..., Path]) -> None:
    data = DATA.get(name, "{format: image_folder, root: d}")
    spec = load_spec(write(f"name: x\nextends: preset:{name}\ndata: {data}\n"))
    assert ExperimentSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert ExperimentSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_zero_shot_spec_written_out_whole_reads_back_the_same(write: Callable[..., Path]) -> None:
    spec = load_spec(write(CLIP))
    assert ExperimentSpec.model_validate(spec.model_dump(mode="json")) == spec


NUMBER = """\
name: a
task: {kind: regression}
data: {format: csv, root: d, file: f.csv, columns: {label: age}}
backbone: {source: timm, name: resnet18}
"""


@pytest.mark.parametrize(
    ("override", "path", "what"),
    [
        ("data={format: image_folder, root: d}", "data.format", "holds no labels for regression"),
        ("data.classes=[a, b]", "data.classes", "data.columns.label"),
        ("head.init=prototypes", "head.init", "allowed: default, zero"),
        ("head.init=text", "head.init", "allowed: default, zero"),
        ("head.warm_start=champion", "head.warm_start", "no classes"),
        ("head.kind=fcos", "head.kind", "allowed: linear"),
        ("training.label_smoothing=0.1", "training.label_smoothing", "for classification, not regression"),
        ("training.class_weights=balanced", "training.class_weights", "not regression"),
        ("augmentation.mixup=0.2", "augmentation.mixup", "for classification, not regression"),
        ("evaluation.specificity=0.8", "evaluation.specificity", "not regression"),
        ("registration.gate.metric=auroc", "registration.gate.metric", "mae, rmse, r2"),
        ("registration.gate.minimum=0.5", "registration.gate.minimum", "`maximum`"),
        ("registration.gate={metric: r2, maximum: 0.5}", "registration.gate.maximum", "`minimum`"),
    ],
)
def test_what_needs_classes_is_not_for_numbers(
    problems_of: ProblemsOf, override: str, path: str, what: str
) -> None:
    found = {p.where.split(": ")[-1]: p.what for p in problems_of(NUMBER, (override,))}
    assert what in found[path]


@pytest.mark.parametrize(
    "override",
    [
        "task.loss=huber",
        "head={init: zero, hidden: [32]}",
        "registration.gate.maximum=12.5",
        "registration.gate={metric: r2, minimum: 0.5}",
        "registration.gate.against_champion.margin=2.5",
        "data.fit=letterbox",
    ],
)
def test_what_suits_numbers_is_let_through(problems_of: ProblemsOf, override: str) -> None:
    assert not problems_of(NUMBER, (override,))


def test_bounds_of_a_gate_suit_its_metric(problems_of: ProblemsOf, good: str) -> None:
    (maximum,) = problems_of(good, ("registration.gate.maximum=0.5",))
    assert "is from 0 to 1: set `minimum`" in maximum.what
    (margin,) = problems_of(good, ("registration.gate.against_champion={margin: 2}",))
    assert "allowed: -1 to 1" in margin.what


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("head: {init: prototypes}", True),
        ("head: {warm_start: champion}", True),
        ("head: {init: zero}", False),
        ("head: {hidden: [8]}", False),
        ("task: {kind: segmentation}", False),
        ("head: {dropout: 0.5}", True),  # ImageNet's own classifier
    ],
)
def test_without_an_epoch_the_head_must_know_the_classes(
    problems_of: ProblemsOf, text: str, fits: bool
) -> None:
    spec = {"task": "{kind: classification}", "data": "{format: image_folder, root: d}"}
    if "segmentation" in text:
        spec = {"task": "{kind: segmentation}", "data": "{format: mask_folder, root: d, classes: [a, b]}"}
    else:
        spec |= {"head": text.removeprefix("head: ")}
    rest = {"name": "a", "backbone": "{source: torchvision, name: resnet18}", "training": "{epochs: 0}"}
    lines = [f"{key}: {value}" for key, value in (spec | rest).items()]
    found = [problem.where for problem in problems_of("\n".join(lines) + "\n", ())]
    assert [where.rpartition(": ")[2] for where in found] == ([] if fits else ["training.epochs"])


@pytest.mark.parametrize(
    ("override", "path", "what"),
    [
        (
            "registration.gate.slices={by: site, minimum: 0.8}",
            "registration.gate.slices.by",
            "set evaluation",
        ),
        ("evaluation.slices=[{by: site}, {by: site}]", "evaluation.slices", "listed twice: site"),
        (
            "evaluation.slices=[{by: age, bins: [40, 20]}]",
            "evaluation.slices.0.bins",
            "above the one before",
        ),
        ("evaluation.slices=[{by: group, bins: [1]}]", "evaluation.slices.0.bins", "groups have names"),
    ],
)
def test_slices_that_nobody_measures_are_refused(
    problems_of: ProblemsOf, good: str, override: str, path: str, what: str
) -> None:
    (problem,) = problems_of(good, (override,))
    assert problem.where.endswith(f": {path}")
    assert what in problem.what


def test_the_bound_of_slices_suits_its_metric(problems_of: ProblemsOf, good: str) -> None:
    sliced = "evaluation.slices=[{by: site}]"
    (problem,) = problems_of(good, (sliced, "registration.gate.slices={maximum: 0.5}"))
    assert "is from 0 to 1: set `minimum`" in problem.what
    (problem,) = problems_of(good, (sliced, "registration.gate.slices={by: site}"))
    assert "asks for nothing" in problem.what
    (problem,) = problems_of(good, (sliced, "registration.gate.slices={metric: map, minimum: 0.5}"))
    assert "has no metric 'map'" in problem.what
    assert not problems_of(good, (sliced, "registration.gate.slices={by: site, minimum: 0.5}"))


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (
            ("evaluation.baselines=[from_scratch]", "training.epochs=0", "head.init=prototypes"),
            "trains nothing",
        ),
        (
            ("evaluation.baselines=[from_scratch]", "backbone={source: timm, name: a, weights: none}"),
            "backbone.weights is none",
        ),
        (("evaluation.baselines=[knn, knn]",), "listed twice: knn"),
    ],
)
def test_baselines_that_say_nothing_are_refused(
    problems_of: ProblemsOf, good: str, overrides: tuple[str, ...], what: str
) -> None:
    assert any(what in problem.what for problem in problems_of(good, overrides))


def test_probes_are_for_answers_about_whole_images(problems_of: ProblemsOf) -> None:
    assert not problems_of(NUMBER, ("evaluation.baselines=[majority, knn, linear_probe, champion]",))
    (problem,) = problems_of(CLIP, ("evaluation.baselines=[knn]",))
    assert "knn needs a head of kind linear" in problem.what
    boxes = (
        "task.kind=detection",
        "data={format: yolo, root: d}",
        "backbone={source: timm, name: resnet18}",
        "head={kind: fcos}",
    )
    (problem,) = problems_of(CLIP, (*boxes, "evaluation.baselines=[majority]"))
    assert "is for classification and regression, not detection" in problem.what
    assert not problems_of(CLIP, (*boxes, "evaluation.baselines=[from_scratch, champion]"))


def test_a_set_is_for_one_right_class(problems_of: ProblemsOf, good: str) -> None:
    several = ("task.multilabel=true", "data={format: csv, root: d, file: f}", "evaluation.conformal=0.9")
    assert any("holds the one right class" in problem.what for problem in problems_of(good, several))
    (problem,) = problems_of(NUMBER, ("evaluation.conformal=0.9",))
    assert "conformal is for classification, not regression" in problem.what
