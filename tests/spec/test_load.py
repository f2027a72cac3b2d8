from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from transferflow.errors import Problem, SpecError
from transferflow.spec.load import (
    check_document,
    load_spec,
    place_problems,
    preset_names,
    read_document,
    with_places,
)
from transferflow.spec.sections.freeze import FreezeBackbone, FreezeLayers, FreezeNone, FreezePhases
from transferflow.spec.sections.head import DetectionHead, LinearHead, SegmentationHead
from transferflow.spec.sections.optimizer import AdamW, Sgd

Write = Callable[..., Path]
ProblemsOf = Callable[..., tuple[Problem, ...]]


def test_a_spec_with_the_required_keys_gets_the_guides_defaults(write: Write, good: str) -> None:
    spec = load_spec(write(good))
    assert spec.name == "birds"
    assert spec.freeze == FreezeNone(policy="none")
    assert spec.head == LinearHead()
    assert spec.optimizer == AdamW()


def test_labels_and_numbers_are_read_as_meant(write: Write, good: str) -> None:
    text = good.replace("root: data/birds", "root: data/birds\n  classes: [no, yes, off, 007]")
    spec = load_spec(write(text + "optimizer: {lr: 1e-4}\ntraining: {class_weights: {no: 2, 007: 1.5}}\n"))
    assert spec.data.classes == ("no", "yes", "off", "007")
    assert spec.optimizer.lr == 1e-4
    assert spec.training.class_weights == {"no": 2.0, "007": 1.5}


def test_an_empty_section_means_its_defaults(write: Write, good: str) -> None:
    assert load_spec(write(good + "deployment:\ntraining:\n")) == load_spec(write(good))


# extends


def test_mappings_merge_and_lists_replace(write: Write, good: str) -> None:
    write(
        good + "training: {epochs: 9, batch_size: 8}\nhead: {hidden: [64, 32], dropout: 0.5}\n", "base.yaml"
    )
    spec = load_spec(write("extends: base.yaml\nname: b\ntraining: {epochs: 3}\nhead: {hidden: [16]}\n"))
    assert (spec.name, spec.training.epochs, spec.training.batch_size) == ("b", 3, 8)
    assert spec.head == LinearHead(hidden=(16,), dropout=0.5)


def test_a_chain_is_relative_to_each_file(write: Write, good: str) -> None:
    write(good + "training: {epochs: 9}\n", "shared/deep/a.yaml")
    write("extends: deep/a.yaml\ntraining: {batch_size: 8}\n", "shared/b.yaml")
    spec = load_spec(write("extends: ../shared/b.yaml\ntraining: {seed: 7}\n", "mine/c.yaml"))
    assert (spec.training.epochs, spec.training.batch_size, spec.training.seed) == (9, 8, 7)


@pytest.mark.parametrize(
    ("base", "child", "expected"),
    [
        # The child names another variant: afresh.
        ("optimizer: {kind: adamw, lr: 3e-4, weight_decay: 0.3}", "optimizer: {kind: sgd}", Sgd(kind="sgd")),
        ("optimizer: {lr: 3e-4, betas: [0.8, 0.9]}", "optimizer: {kind: sgd}", Sgd(kind="sgd")),
        # The base is of no variant in particular: kept.
        ("optimizer: {lr: 3e-4}", "optimizer: {kind: sgd}", Sgd(kind="sgd", lr=3e-4)),
        # The child names none, or the same: merged.
        (
            "optimizer: {kind: sgd, lr: 0.1}",
            "optimizer: {momentum: 0.8}",
            Sgd(kind="sgd", lr=0.1, momentum=0.8),
        ),
        ("optimizer: {kind: sgd, lr: 0.1}", "optimizer: {kind: sgd}", Sgd(kind="sgd", lr=0.1)),
        ("optimizer: {kind: sgd, lr: 0.1}", "optimizer: null", AdamW()),
        ("optimizer: {kind: sgd, lr: 0.1}", "optimizer: {lr: null}", Sgd(kind="sgd")),
        (
            "optimizer: {layer_lr: {a: 1e-3, b: 2e-3}}",
            "optimizer: {layer_lr: {a: null, c: 3e-3}}",
            AdamW(layer_lr={"b": 2e-3, "c": 3e-3}),
        ),
    ],
)
def test_how_a_section_with_variants_is_extended(
    write: Write, good: str, base: str, child: str, expected: object
) -> None:
    write(good + base + "\n", "base.yaml")
    assert load_spec(write(f"extends: base.yaml\n{child}\n")).optimizer == expected


def test_freeze_policies_and_augmentation_start_afresh(write: Write, good: str) -> None:
    write(
        good
        + "freeze: {policy: layers, layers: [layer1], batch_norm: train}\naugmentation: {preset: none}\n",
        "base.yaml",
    )
    child = "extends: base.yaml\nfreeze: {policy: backbone}\naugmentation: {transforms: [{name: Blur}]}\n"
    spec = load_spec(write(child))
    assert spec.freeze == FreezeBackbone(policy="backbone")
    assert [step.name for step in spec.augmentation.transforms] == ["Blur"]  # type: ignore[union-attr]
    again = write("extends: spec.yaml\naugmentation: {preset: similar_domain}\n", "again.yaml")
    assert load_spec(again).augmentation.preset == "similar_domain"  # type: ignore[union-attr]


def test_kinds_that_share_their_keys_keep_them(write: Write, good: str) -> None:
    detection = good.replace("classification", "detection").replace("image_folder", "voc")
    write(detection + "head: {kind: faster_rcnn, score_threshold: 0.2}\n", "base.yaml")
    spec = load_spec(write("extends: base.yaml\nhead: {kind: fcos}\n"))
    assert spec.head == DetectionHead(kind="fcos", score_threshold=0.2)


def test_null_stays_where_it_has_a_meaning_of_its_own(write: Write, good: str) -> None:
    write(good + "registration: {gate: {against_champion: {margin: 0.1}}}\n", "base.yaml")
    spec = load_spec(
        write("extends: base.yaml\ndata: {cache: null}\nregistration: {gate: {against_champion: null}}\n")
    )
    assert spec.data.cache is None
    assert spec.registration.gate.against_champion is None


def test_a_key_that_the_new_variant_lost_is_explained(write: Write, good: str) -> None:
    write(good, "base.yaml")
    with pytest.raises(SpecError, match=r"data.root: is required") as caught:
        load_spec(write("extends: base.yaml\ndata: {format: csv, file: a.csv}\n"))
    assert "base.yaml:5:3 (extended by spec.yaml) set it" in str(caught.value)


def test_problems_of_a_base_name_the_base(write: Write, good: str) -> None:
    write(good + "training: {epochs: -1}\noptimizer: {lr: 1, lr: 2}\n", "base.yaml")
    with pytest.raises(SpecError) as caught:
        load_spec(write("extends: base.yaml\nname: B\n"))
    assert [p.where for p in caught.value.problems] == [
        "base.yaml:10:20 (extended by spec.yaml): optimizer.lr",
        "spec.yaml:2:7: name",
        "base.yaml:9:20 (extended by spec.yaml): training.epochs",
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("extends: none.yaml", "spec.yaml:1:10: extends", "no such file to extend"),
        ("extends: spec.yaml", "spec.yaml:1:10: extends", "circle"),
        ("extends: preset:medcal", "spec.yaml:1:10: extends", "did you mean `medical`"),
        ("extends: [a.yaml]", "spec.yaml:1:10: extends", "one file or preset"),
        ("extends: 3", "spec.yaml:1:10: extends", "one file or preset"),
        ("extends:", "spec.yaml:1:9: extends", "one file or preset"),
        ("extends: ''", "spec.yaml:1:10: extends", "one file or preset"),
        ("extends: .", "spec.yaml:1:10: extends", "no such file to extend"),
        (f"extends: {'x' * 300}", "spec.yaml:1:10: extends", "no such file to extend"),
        ('extends: "a\\0b"', "spec.yaml:1:10: extends", "no such file to extend"),
        ("extends: https://host/base.yaml", "spec.yaml:1:10: extends", "no such file to extend"),
    ],
)
def test_what_can_not_be_extended_is_one_problem(
    problems_of: ProblemsOf, text: str, where: str, what: str
) -> None:
    (problem,) = problems_of(text)
    assert problem.where == where
    assert what in str(problem)


def test_a_longer_circle_and_an_endless_chain_end(write: Write) -> None:
    write("extends: b.yaml", "a.yaml")
    write("extends: a.yaml", "b.yaml")
    with pytest.raises(SpecError, match="circle"):
        load_spec(Path("a.yaml"))
    for number in range(20):
        write(f"extends: {number + 1}.yaml", f"{number}.yaml")
    with pytest.raises(SpecError, match="10 times in a row"):
        load_spec(Path("0.yaml"))


def test_a_base_that_is_no_mapping_or_not_readable(write: Write, good: str) -> None:
    write("- 1", "list.yaml")
    with pytest.raises(SpecError, match=r"list.yaml:1:1 \(extended by spec.yaml\): a spec is a mapping"):
        load_spec(write("extends: list.yaml"))
    write("a: {", "broken.yaml")
    with pytest.raises(SpecError, match=r"broken.yaml:2:1 \(extended by spec.yaml\): is not YAML"):
        load_spec(write(good + "extends: broken.yaml"))


# --set


@pytest.mark.parametrize(
    ("overrides", "read", "expected"),
    [
        (("training.epochs=3",), lambda s: s.training.epochs, 3),
        (("optimizer.lr=3e-4",), lambda s: s.optimizer.lr, 3e-4),
        ((" training . epochs = 3 ",), lambda s: s.training.epochs, 3),
        (("training.epochs=3", "training.epochs=4"), lambda s: s.training.epochs, 4),
        (("training={epochs: 3, seed: 1}",), lambda s: (s.training.epochs, s.training.seed), (3, 1)),
        (("data.classes=[no, yes]",), lambda s: s.data.classes, ("no", "yes")),
        (("data.classes=['1', \"2\"]",), lambda s: s.data.classes, ("1", "2")),
        (('optimizer.layer_lr."blocks.0"=1e-4',), lambda s: s.optimizer.layer_lr, {"blocks.0": 1e-4}),
        (("optimizer.layer_lr.'a=b'=1e-4",), lambda s: s.optimizer.layer_lr, {"a=b": 1e-4}),
        (("optimizer.kind=sgd", "optimizer.lr=0.1"), lambda s: s.optimizer, Sgd(kind="sgd", lr=0.1)),
        (("optimizer.lr=0.1", "optimizer.kind=sgd"), lambda s: s.optimizer, Sgd(kind="sgd", lr=0.1)),
        (("optimizer={kind: sgd}",), lambda s: s.optimizer, Sgd(kind="sgd", lr=5e-3)),
        (("optimizer=null",), lambda s: s.optimizer, AdamW()),
        (("optimizer.lr=",), lambda s: s.optimizer, AdamW()),
        (("freeze.phases.1.epochs=7",), lambda s: [p.epochs for p in s.freeze.phases], [2, 7]),
        (("freeze.phases.1={epochs: 7}",), lambda s: [p.epochs for p in s.freeze.phases], [2, 7]),
        (("freeze.phases.0.train.0=layer4",), lambda s: s.freeze.phases[0].train, ("layer4",)),
        (("freeze.policy=none",), lambda s: s.freeze, FreezeNone(policy="none")),
    ],
)
def test_overrides(
    write: Write, good: str, overrides: tuple[str, ...], read: Callable[..., object], expected: object
) -> None:
    phases = "freeze: {policy: phases, phases: [{epochs: 2, train: [head]}, {epochs: 3, train: ['*']}]}\n"
    spec = load_spec(write(good + phases + "optimizer: {lr: 5e-3}\n"), overrides)
    assert read(spec) == expected


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("training.epochs", "--set training.epochs", "KEY.PATH=VALUE"),
        ("=3", "--set =3", "KEY.PATH=VALUE"),
        ("", "--set ", "KEY.PATH=VALUE"),
        (".a=3", "--set .a=3", "KEY.PATH=VALUE"),
        ("a..b=3", "--set a..b=3", "KEY.PATH=VALUE"),
        ("a.=3", "--set a.=3", "KEY.PATH=VALUE"),
        ('"a=3', '--set "a=3', "KEY.PATH=VALUE"),
        ("training.epochs=zero", "--set training.epochs=zero: training.epochs", "must be a whole number"),
        ("training.epoch=3", "--set training.epoch=3: training.epoch", "did you mean `epochs`"),
        ("lr=3", "--set lr=3: lr", "`--set optimizer.lr=3`"),
        ("training.epochs.x=3", "--set training.epochs.x=3: training.epochs", "must be a whole number"),
        ("training.epochs={", "--set training.epochs={", "not YAML"),
        ("training.epochs=!!python/name:os 3", "--set training.epochs=!!python/name:os 3", "tags"),
        ("extends=preset:medical", "--set extends=preset:medical", "only stand in a file"),
        ("freeze.layers.5=a", "--set freeze.layers.5=a: freeze.layers", "no item 5"),
        ("freeze.layers.x=a", "--set freeze.layers.x=a: freeze.layers", "no item x"),
        ("freeze.layers.-1=a", "--set freeze.layers.-1=a: freeze.layers", "no item -1"),
    ],
)
def test_a_wrong_override_is_named(
    problems_of: ProblemsOf, good: str, override: str, where: str, what: str
) -> None:
    problems = problems_of(good + "freeze: {policy: layers, layers: [layer1]}\n", (override,))
    assert [p.where for p in problems] == [where]
    assert what in str(problems[0])


def test_overrides_come_last(write: Write, good: str) -> None:
    write(good + "training: {epochs: 9, seed: 1}\n", "base.yaml")
    spec = load_spec(write("extends: base.yaml\ntraining: {epochs: 3}\n"), ["training.epochs=5"])
    assert (spec.training.epochs, spec.training.seed) == (5, 1)


# Presets


PRESET_DATA = {
    "detection": "{format: coco, root: d, annotations: a.json}",
    "segmentation": "{format: mask_folder, root: d}",
}


def test_the_five_rows_of_the_guide(write: Write) -> None:
    assert preset_names() == ["detection", "large-data", "medical", "segmentation", "small-data"]
    specs = {}
    for name in preset_names():
        data = PRESET_DATA.get(name, "{format: image_folder, root: d}")
        specs[name] = load_spec(write(f"name: x\nextends: preset:{name}\ndata: {data}\n"))
    rows = {name: (s.task.kind, s.backbone.name, s.freeze.policy, s.head.kind) for name, s in specs.items()}
    assert rows == {
        "small-data": ("classification", "efficientnet_b0", "backbone", "linear"),
        "large-data": ("classification", "resnet50", "none", "linear"),
        "detection": ("detection", "resnet50", "none", "faster_rcnn"),
        "segmentation": ("segmentation", "resnet50", "backbone", "deeplabv3"),
        "medical": ("classification", "resnet50", "layers", "linear"),
    }
    assert specs["detection"].backbone.weights == "COCO_V1"
    assert specs["detection"].optimizer.backbone_lr_scale == 0.1
    assert specs["segmentation"].backbone.weights == "COCO_WITH_VOC_LABELS_V1"
    medical = specs["medical"]
    assert medical.data.channels == 1
    assert medical.backbone.channel_adaptation == "mean"
    assert medical.freeze == FreezeLayers(policy="layers", layers=("layer1", "layer2"))
    assert medical.head == LinearHead(dropout=0.5)
    assert medical.optimizer.layer_lr == {"conv1": 1e-5, "layer3": 1e-4, "layer4": 3e-4}
    assert medical.augmentation.preset == "different_domain"  # type: ignore[union-attr]


def test_the_medical_preset_serves_segmentation(write: Write) -> None:
    text = (
        "name: x\nextends: preset:medical\ntask: {kind: segmentation}\ndata: {format: mask_folder, root: d}\n"
    )
    spec = load_spec(write(text))
    assert spec.head == SegmentationHead(kind="deeplabv3", dropout=0.5)
    assert spec.data.channels == 1


def test_a_head_without_kind_is_the_tasks_default(problems_of: ProblemsOf, write: Write) -> None:
    text = "name: x\ntask: {kind: %s}\ndata: %s\nbackbone: {source: torchvision, name: resnet50}\n"
    detector = text % ("detection", PRESET_DATA["detection"]) + "head: {nms_threshold: 0.3}\n"
    assert load_spec(write(detector)).head == DetectionHead(kind="faster_rcnn", nms_threshold=0.3)
    assert load_spec(write(detector + "optimizer: null\n")).head.kind == "faster_rcnn"
    segmenter = text % ("segmentation", PRESET_DATA["segmentation"]) + "head: {dropuot: 0.3}\n"
    (problem,) = problems_of(segmenter)
    assert "did you mean `dropout`" in problem.hint
    assert "auxiliary" in problem.allowed
    (problem,) = problems_of(segmenter.replace("dropuot: 0.3", "hidden: [8]"))
    assert problem.hint == "`hidden` goes with kind: linear"


def test_a_preset_alone_lacks_name_and_data(problems_of: ProblemsOf) -> None:
    found = {p.where.rpartition(": ")[2] for p in problems_of("extends: preset:medical")}
    assert found == {"name", "data.format"}


def test_a_problem_in_a_preset_names_it(problems_of: ProblemsOf) -> None:
    text = "extends: preset:medical\nname: x\ndata: {format: image_folder, root: d}\n"
    (problem,) = problems_of(text + "freeze: {policy: layers, layers: [layer3]}\n")
    assert problem.where == "preset:medical:8:68 (extended by spec.yaml): optimizer.layer_lr.layer3"


# Bases and later checks


def test_a_base_may_leave_things_out_but_not_be_wrong(write: Write) -> None:
    document = read_document(write("training: {epochs: -1}\n"))
    _, problems = check_document(document, is_base=True)
    assert [p.where for p in problems] == ["spec.yaml:1:20: training.epochs"]


def test_later_checks_get_their_place(write: Write, good: str) -> None:
    document = read_document(write(good + "augmentation: {transforms: [{name: Blur}]}\n"))
    (problem,) = place_problems(document, [(("augmentation", "transforms", "0", "name"), "is odd")])
    assert str(problem) == "spec.yaml:9:36: augmentation.transforms.0.name: is odd"
    (problem,) = place_problems(document, [(("schedule", "kind"), "is odd")])
    assert problem.where == "spec.yaml:1:1: schedule.kind"


@pytest.mark.parametrize(
    ("where", "placed"),
    [
        ("training.epochs", "spec.yaml:9:20: training.epochs"),
        ('optimizer.layer_lr."blocks.0"', 'spec.yaml:10:36: optimizer.layer_lr."blocks.0"'),
        ("freeze.layers.1", "spec.yaml:11:42: freeze.layers.1"),
        ("backbone.weights", "spec.yaml:6:1: backbone.weights"),  # not written: its section
        ("head.dropout", "--set head.dropout=0.1: head.dropout"),
        ("epoch 3, step 1", "epoch 3, step 1"),
        ("data.csv", "data.csv"),  # a file: the section has no such key
        ("/data/photos", "/data/photos"),
        ("", ""),
    ],
)
def test_errors_of_the_plan_get_their_place(write: Write, good: str, where: str, placed: str) -> None:
    more = "training: {epochs: 3}\noptimizer: {layer_lr: {'blocks.0': 1e-4}}\n"
    path = write(good + more + "freeze: {policy: layers, layers: [conv1, layr1]}\n")
    problem = Problem("is odd", where, found="x", hint="look")
    document = read_document(path, ["head.dropout=0.1"])
    assert with_places(document, [problem]) == (replace(problem, where=placed),)


def test_phases_are_read(write: Write, good: str) -> None:
    text = (
        "freeze: {policy: phases, phases: [{epochs: 3, train: [head]}, {epochs: 5, train: [layer4, head]}]}"
    )
    freeze = load_spec(write(good + text)).freeze
    assert isinstance(freeze, FreezePhases)
    assert freeze.phases[1].train == ("layer4", "head")
