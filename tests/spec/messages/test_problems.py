"""Broken specs: each is refused with file, line, column, key path, and words that help."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from transferflow.errors import Problem, SpecError

ProblemsOf = Callable[..., tuple[Problem, ...]]

# Lines put behind the good spec (which has eight), where the problem is, and what its text must contain.
APPENDED: list[tuple[str, str, str]] = [
    # Unknown keys
    ("optimiser: {lr: 1e-3}", "9:1: optimiser", "did you mean `optimizer`"),
    ("lr: 1e-3", "9:1: lr", "write `optimizer: {lr: 1e-3}`"),
    ("epochs: 3", "9:1: epochs", "write `training: {epochs: 3}`"),
    ("optimizer: {learning_rate: 1}", "9:13: optimizer.learning_rate", "unknown key"),
    ("optimizer: {momentum: 0.9}", "9:13: optimizer.momentum", "goes with kind: sgd"),
    ("optimizer: {kind: sgd, betas: [0.9, 0.99]}", "9:24: optimizer.betas", "goes with kind: adamw"),
    ("freeze: {policy: backbone, until: layer2}", "9:28: freeze.until", "goes with policy: until"),
    (
        "augmentation: {transforms: [{name: A}], preset: none}",
        "9:41: augmentation.preset",
        "does not go with",
    ),
    ("augmentation: {transforms: [{nam: A, name: B}]}", "9:30: augmentation.transforms.0.nam", "`name`"),
    ("deployment: {schedule: {cron: '0 3 * * *', tz: UTC}}", "9:44: deployment.schedule.tz", "timezone"),
    ("training: {earlystopping: {}}", "9:12: training.earlystopping", "did you mean `early_stopping`"),
    # Tags of sections
    ("optimizer: {kind: adam}", "9:19: optimizer.kind", "write `kind: adamw`"),
    ("optimizer: {kind: 3}", "9:19: optimizer.kind", "adamw, sgd"),
    ("optimizer: {kind: [sgd]}", "9:19: optimizer.kind", "a list of 1"),
    ("schedule: {kind: cosin}", "9:18: schedule.kind", "did you mean `cosine`"),
    ("head: {kind: linar}", "9:14: head.kind", "did you mean `linear`"),
    ("freeze: {}", "9:1: freeze.policy", "is required"),
    ("freeze: {policy: layer}", "9:18: freeze.policy", "did you mean `layers`"),
    ("freeze: {policy: no}", "9:18: freeze.policy", "none, backbone, until"),
    # Missing keys
    ("freeze: {policy: until}", "9:1: freeze.until", "is required"),
    ("freeze: {policy: phases, phases: [{epochs: 3}]}", "9:35: freeze.phases.0.train", "is required"),
    (
        "deployment: {schedule: {cron: 0 3 * * *, interval: 6h}}",
        "9:25: deployment.schedule.cron",
        "not go with `interval`",
    ),
    ("deployment: {schedule: {interval: 6}}", "9:35: deployment.schedule.interval", "as in 30m, 6h"),
    ("deployment: {schedule: {rrule: FREQ=DAILY;COUNT=3}}", "9:32: deployment.schedule.rrule", "'COUNT=3'"),
    ("execution: {prepare: {kind: dask, address: 10.0.0.7}}", "9:44: execution.prepare.address", "tcp://"),
    ("execution: {prepare: {kind: dask}}", "9:13: execution.prepare.address", "is required"),
    ("deployment: {refresh: {poll: 0m}}", "9:30: deployment.refresh.poll", "from 1m"),
    ("deployment: {schedule: {timezone: UTC}}", "9:14: deployment.schedule.cron", "is required"),
    ("augmentation: {transforms: [{args: {}}]}", "9:29: augmentation.transforms.0.name", "is required"),
    # Wrong kinds of values
    ("freeze: backbone", "9:9: freeze", "{policy: backbone}"),
    ("freeze: [layer1]", "9:9: freeze", "must be a mapping"),
    ("optimizer: sgd", "9:12: optimizer", "{kind: sgd}"),
    ("head: linar", "9:7: head", "did you mean `linear`"),
    ("augmentation: none", "9:15: augmentation", "{preset: none}"),
    ("augmentation: [flip]", "9:15: augmentation", "a mapping with mixup, cutmix, scale, preset, transforms"),
    ("augmentation: {transforms: {name: A}}", "9:16: augmentation.transforms", "one_of"),
    ("optimizer: 3", "9:12: optimizer", "must be a mapping"),
    ("training: fast", "9:11: training", "must be a mapping"),
    ("training: {epochs: ten}", "9:20: training.epochs", "a whole number, at least 0"),
    ("training: {epochs: '10'}", "9:20: training.epochs", "write 10 without quotes"),
    ("training: {epochs: 1e1}", "9:20: training.epochs", "write 10"),
    ("training: {epochs: 2.5}", "9:20: training.epochs", "must be a whole number"),
    ("training: {epochs: true}", "9:20: training.epochs", "must be a whole number"),
    ("training: {epochs: 010}", "9:20: training.epochs", "write 10"),
    ("training: {epochs: 1_000}", "9:20: training.epochs", "write 1000"),
    ("training: {epochs: [3]}", "9:20: training.epochs", "a list of 1"),
    ("training: {epochs: {}}", "9:12: training.epochs", "must be a whole number"),
    ("training: {ema: yes}", "9:17: training.ema", "must be a number"),
    ("training: {workers: many}", "9:21: training.workers", "auto"),
    ("training: {workers: -1}", "9:21: training.workers", "too small"),
    ("training: {precision: bf-16}", "9:23: training.precision", "did you mean `bf16`"),
    ("training: {class_weights: equal}", "9:27: training.class_weights", "balanced"),
    ("training: {class_weights: {a: 0}}", "9:31: training.class_weights.a", "above 0"),
    ("training: {class_weights: {a: x}}", "9:31: training.class_weights.a", "must be a number"),
    ("optimizer: {nesterov: yes, kind: sgd}", "9:23: optimizer.nesterov", "write true"),
    ("optimizer: {lr: fast}", "9:17: optimizer.lr", "must be a number"),
    ("optimizer: {layer_lr: [1]}", "9:23: optimizer.layer_lr", "must be a mapping"),
    ("optimizer: {layer_lr: {layer1: x}}", "9:32: optimizer.layer_lr.layer1", "must be a number"),
    ("optimizer: {betas: 0.9}", "9:20: optimizer.betas", "write a list: [0.9]"),
    ("optimizer: {betas: [0.9]}", "9:20: optimizer.betas", "a list of 2"),
    ("optimizer: {betas: [0.9, 0.9, 0.9]}", "9:20: optimizer.betas", "too many"),
    ("optimizer: {betas: [0.9, 2]}", "9:26: optimizer.betas.1", "at most 1"),
    ("freeze: {policy: layers, layers: layer1}", "9:34: freeze.layers", "write a list: [layer1]"),
    ("freeze: {policy: layers, layers: []}", "9:34: freeze.layers", "too few"),
    ("freeze: {policy: layers, layers: [1]}", "9:35: freeze.layers.0", 'put it in quotes: "1"'),
    ("freeze: {policy: layers, layers: [null]}", "9:35: freeze.layers.0", "is empty"),
    ("head: {hidden: 64}", "9:16: head.hidden", "write a list: [64]"),
    ("evaluation: {metrics: accuracy}", "9:23: evaluation.metrics", "write a list: [accuracy]"),
    ("registration: {model: Birds}", "9:23: registration.model", "lower-case"),
    ("registration: {gate: {minimum: 90}}", "9:32: registration.gate.minimum", "at most 1"),
    (
        "registration: {gate: {against_champion: {confidence: 95}}}",
        "9:54: registration.gate.against",
        "below 1",
    ),
    # Out of range
    ("training: {epochs: -1}", "9:20: training.epochs", "at least 0"),
    ("training: {epochs: 99999999999}", "9:20: training.epochs", "too large"),
    ("training: {label_smoothing: 1}", "9:29: training.label_smoothing", "below 1"),
    ("optimizer: {lr: 0}", "9:17: optimizer.lr", "use `freeze`"),
    ("optimizer: {lr: -1e-3}", "9:17: optimizer.lr", "above 0, found -0.001"),
    ("optimizer: {layer_lr: {layer1: 0}}", "9:32: optimizer.layer_lr.layer1", "use `freeze`"),
    ("optimizer: {layer_decay: 1.5}", "9:26: optimizer.layer_decay", "at most 1"),
    ("head: {dropout: 1}", "9:17: head.dropout", "below 1"),
    ("schedule: {warmup_epochs: -1}", "9:27: schedule.warmup_epochs", "at least 0"),
    ("augmentation: {transforms: []}", "9:28: augmentation.transforms", "too few"),
    (
        "augmentation: {transforms: [{one_of: [{name: A}]}]}",
        "9:38: augmentation.transforms.0.one_of",
        "a list of 2 to",
    ),
    (
        "augmentation: {transforms: [{name: A, probability: 2}]}",
        "9:52: augmentation.transforms.0.prob",
        "at most 1",
    ),
    # Rules inside a section
    (
        "optimizer: {layer_decay: 0.9, backbone_lr_scale: 0.1}",
        "9:1: optimizer",
        "both set the backbone's rates",
    ),
    ("optimizer: {kind: sgd, momentum: 0}", "9:1: optimizer", "nesterov needs momentum"),
    ("head: {init: text, prompts: [a photo]}", "9:30: head.prompts.0", "has `{}` once"),
    ("head: {init: text, prompts: ['{} {x}']}", "9:30: head.prompts.0", "has `{}` once"),
    ("deployment: {schedule: {cron: '* * *'}}", "9:31: deployment.schedule.cron", "found 3"),
    ("deployment: {schedule: {cron: '61 * * * *'}}", "9:31: deployment.schedule.cron", "0 to 59"),
    ("deployment: {schedule: {cron: '0 0 30 2 *'}}", "9:31: deployment.schedule.cron", "never comes"),
    ("deployment: {refresh: {poll: hourly}}", "9:30: deployment.refresh.poll", "five fields"),
    (
        "deployment: {schedule: {cron: '0 3 * * *', timezone: Europe/Zurch}}",
        "9:54: deployment.schedule.timezone",
        "Europe/Zurich",
    ),
    ("evaluation: {metrics: [accuracy, accuracy]}", "9:23: evaluation.metrics", "listed twice: accuracy"),
    # Rules between sections
    ("evaluation: {metrics: [accuracy, miou]}", "9:34: evaluation.metrics.1", "no metric 'miou'"),
    ("evaluation: {metrics: [acuracy, accuracy]}", "9:24: evaluation.metrics.0", "did you mean `accuracy`"),
    ("evaluation: {metrics: [auroc]}", "9:23: evaluation.metrics", "leaves out accuracy"),
    ("registration: {gate: {metric: map}}", "9:31: registration.gate.metric", "no metric 'map'"),
    (
        "registration: {gate: {metric: auroc}}\nevaluation: {metrics: [accuracy]}",
        "9:31: registration.gate.metric",
        "add it to evaluation.metrics",
    ),
    (
        "training: {early_stopping: {metric: dice}}",
        "9:37: training.early_stopping.metric",
        "no metric 'dice'",
    ),
    ("head: {kind: fcos}", "9:14: head.kind", "linear, zero_shot"),
    (
        "freeze: {policy: layers, layers: ['layer[12]']}\noptimizer: {layer_lr: {layer1: 1e-3}}",
        "10:32: optimizer.layer_lr.layer1",
        "is frozen",
    ),
    (
        "freeze: {policy: until, until: layer2}\noptimizer: {layer_lr: {layer2: 1e-3}}",
        "10:32: optimizer.layer_lr.layer2",
        "is frozen by freeze.until",
    ),
    (
        "freeze: {policy: phases, phases: [{epochs: 1, train: [head]}]}\n"
        "optimizer: {layer_lr: {layer1: 1e-3}}",
        "10:32: optimizer.layer_lr.layer1",
        "trains in no phase",
    ),
    (
        "freeze: {policy: backbone}\noptimizer: {layer_decay: 0.9}",
        "10:26: optimizer.layer_decay",
        "is frozen",
    ),
    (
        "freeze: {policy: phases, phases: [{epochs: 20, train: [head]}, {epochs: 1, train: ['*']}]}",
        "9:34: freeze.phases",
        "starts at epoch 21; training ends with epoch 20",
    ),
    ("schedule: {warmup_epochs: 20}", "9:27: schedule.warmup_epochs", "all 20 epochs"),
    ("head: {kind: zero_shot}", "7:11: backbone.source", "CLIP"),
    ("head: {init: text}", "7:11: backbone.source", "CLIP"),
    (
        "backbone: {source: timm, name: vit_base_patch16_clip_224.openai}\nhead: {init: text, hidden: [8]}",
        "10:28: head.hidden",
        "without hidden layers",
    ),
    ("head: {prompts: ['a {}']}", "9:17: head.prompts", "init: text"),
]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("p-vit_b_16", "did you mean `p-vit-b-16`?"),
        ("Birds of Ulm!", "did you mean `birds-of-ulm`?"),
        ("vögel", ""),
        ("__", ""),
    ],
)
def test_a_name_of_another_form_gets_a_suggestion(
    problems_of: ProblemsOf, good: str, name: str, hint: str
) -> None:
    (problem,) = problems_of(good.replace("name: birds", f"name: {name}"))
    assert problem.where == "spec.yaml:1:7: name"
    assert problem.what == "has a form that is not allowed"
    assert problem.hint == hint


DATA = "name: a\ntask: {kind: %s}\nbackbone: {source: torchvision, name: resnet50}\n%s"
WITH_DATA: list[tuple[str, str, str, str]] = [
    (
        "classification",
        "data: {format: coco, root: x, annotations: a.json}",
        "4:16: data.format",
        "image_folder",
    ),
    ("detection", "data: {format: image_folder, root: x}", "4:16: data.format", "coco, voc, yolo"),
    ("segmentation", "data: {format: voc, root: x}", "4:16: data.format", "mask_folder, coco"),
    ("classification", "data: {format: csv, root: x}", "4:1: data.file", "is required"),
    ("classification", "data: {format: image_foldr, root: x}", "4:16: data.format", "`image_folder`"),
    ("classification", "data: {root: x}", "4:1: data.format", "is required"),
    ("classification", "data: {format: image_folder}", "4:1: data.root", "is required"),
    ("classification", "data: {format: image_folder, root: ''}", "4:36: data.root", "must not be empty"),
    ("classification", "data: {format: image_folder, root: 3}", "4:36: data.root", 'quotes: "3"'),
    ("classification", "data: {format: csv, root: x, file: /etc/passwd}", "4:36: data.file", "data.root"),
    ("classification", "data: {format: csv, root: x, file: ../b.csv}", "4:36: data.file", "data.root"),
    (
        "detection",
        "data: {format: coco, root: x, annotations: 3}",
        "4:44: data.annotations",
        "text, or a mapping",
    ),
    (
        "detection",
        "data: {format: coco, root: x, annotations: {train: a}}",
        "4:31: data.annotations.val",
        "required",
    ),
    (
        "detection",
        "data: {format: coco, root: x, annotations: {tran: a}}",
        "4:45: data.annotations.tran",
        "`train`",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, classes: [a, b, a]}",
        "4:48: data.classes",
        "listed twice: a",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, classes: [0, 1]}",
        "4:49: data.classes.0",
        '"0"',
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, classes: [true]}",
        "4:49: data.classes.0",
        '"true"',
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, channels: 0}",
        "4:49: data.channels",
        "at least 1",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, split: {train: 0.9}}",
        "4:39: data.split",
        "must be 1, found 1.1",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, split: {train: 0.9, val: 0.1, test: 0}}",
        "4:39: data.split",
        "above 0",
    ),
    (
        "classification",
        "data: {format: dicom, root: x, intensity: {kind: window}}",
        "4:32: data.intensity.",
        "is required",
    ),
    (
        "classification",
        "data: {format: dicom, root: x, intensity: {kind: percentile, low: 9, high: 3}}",
        "4:32: data.intensity",
        "must be below",
    ),
    (
        "classification",
        "data: {format: csv, root: x, file: f, columns: {path: label}}",
        "4:39: data.columns",
        "two meanings",
    ),
    ("segmentation", "data: {format: mask_folder, root: x, encoding: rgb}", "4:1: data", "colours"),
    (
        "segmentation",
        "data: {format: mask_folder, root: x, encoding: rgb, colours: {a: [0, 0, 256]}}",
        "4:73: data.colours.a.2",
        "at most 255",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x, encoding: rgb, colours: {a: [0, 0, 0], b: [0, 0, 0]}}",
        "4:1: data",
        "same colour",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x, classes: [a, b], encoding: rgb, colours: {a: [0, 0, 0]}}",
        "4:70: data.colours",
        "the class b",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x}\ntraining: {label_smoothing: 0.1}",
        "5:29: training",
        "classif",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x}\naugmentation: {mixup: 0.2}",
        "5:23: augm",
        "mixup is for",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x}\noptimizer: {backbone_lr_scale: 0.1}",
        "5:32: optimizer.backbone_lr_scale",
        "the default for segmentation",
    ),
    (
        "segmentation",
        "data: {format: mask_folder, root: x}\nhead: {kind: fcn, auxiliary: false, auxiliary_weight: 0.2}",
        "5:55: head.auxiliary_weight",
        "no auxiliary head",
    ),
    (
        "detection",
        "data: {format: voc, root: x}\ntraining: {class_weights: balanced}",
        "5:27: training.class_weights",
        "classification and segmentation",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, classes: [cat, dog]}\ntraining: {class_weights: {cta: 2}}",
        "5:33: training.class_weights.cta",
        "did you mean `cat`",
    ),
    (
        "classification",
        "data: {format: image_folder, root: x, image_size: 64}\n"
        "augmentation: {transforms: [{name: RandomCrop, args: {height: 96, width: 64}}]}",
        "5:63: augmentation.transforms.0.args.height",
        "larger than data.image_size 64",
    ),
]


@pytest.mark.parametrize(("line", "where", "text"), APPENDED, ids=[row[0] for row in APPENDED])
def test_a_broken_line_is_found(problems_of: ProblemsOf, good: str, line: str, where: str, text: str) -> None:
    problems = problems_of(good + line)
    assert any(p.where.startswith(f"spec.yaml:{where}") and text in str(p) for p in problems), [
        *map(str, problems)
    ]


@pytest.mark.parametrize(
    ("task", "lines", "where", "text"), WITH_DATA, ids=[row[1].replace("\n", "; ") for row in WITH_DATA]
)
def test_a_broken_data_section_is_found(
    problems_of: ProblemsOf, task: str, lines: str, where: str, text: str
) -> None:
    problems = problems_of(DATA % (task, lines))
    assert any(p.where.startswith(f"spec.yaml:{where}") and text in str(p) for p in problems), [
        *map(str, problems)
    ]


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(problems_of: ProblemsOf) -> None:
    text = "name: B\ntask: {kind: x}\ndata: {format: image_folder}\nbackbone: 3\n"
    text += "training: {epochs: -1}\nfoo: 1\n"
    lines = [int(p.where.split(":")[1]) for p in problems_of(text)]
    assert lines == [1, 2, 3, 4, 5, 6]


def test_missing_sections_are_named(problems_of: ProblemsOf) -> None:
    where = {p.where for p in problems_of("name: a")}
    assert where == {f"spec.yaml:1:1: {key}" for key in ("task", "data", "backbone")}


def test_a_message_never_shows_an_unknown_keys_value_or_a_password(
    problems_of: ProblemsOf, good: str
) -> None:
    secret = "hunter2hunter2"
    text = good + f"password: {secret}\ntraining: {{epochs: https://me:{secret}@host/x}}\n"
    found = "\n".join(map(str, problems_of(text)))
    assert "password" in found
    assert "***@host" in found
    assert secret not in found


def test_long_values_are_cut(problems_of: ProblemsOf, good: str) -> None:
    (problem,) = problems_of(good + f"training: {{epochs: {'x' * 500}}}")
    assert len(problem.found) < 80


def test_a_problem_of_an_alias_points_to_its_anchor(problems_of: ProblemsOf, good: str) -> None:
    (problem,) = problems_of(good + "optimizer: {lr: &n 2.5}\ntraining: {epochs: *n}\n")
    assert problem.where == "spec.yaml:9:17: training.epochs"


def test_the_error_names_every_problem(
    problems_of: ProblemsOf, good: str, write: Callable[..., object]
) -> None:
    from transferflow.spec.load import load_spec

    path = write(good + "foo: 1\nbar: 2\n")
    with pytest.raises(SpecError, match=r"(?s)spec.yaml:9:1: foo.*spec.yaml:10:1: bar"):
        load_spec(path)  # type: ignore[arg-type]
