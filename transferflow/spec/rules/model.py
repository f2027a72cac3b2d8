"""Rules between head, backbone, freeze policy and rates."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from transferflow.spec.deciding import is_random, keeps_published_head
from transferflow.spec.sections.backbone import CheckpointBackbone
from transferflow.spec.sections.base import Found
from transferflow.spec.sections.freeze import (
    FreezeBackbone,
    FreezeLayers,
    FreezeNone,
    FreezePhases,
    FreezeUntil,
)
from transferflow.spec.sections.guide import default_freeze
from transferflow.spec.sections.head import LinearHead, SegmentationHead, ZeroShotHead
from transferflow.spec.sections.optimizer import AdamW, Cosine
from transferflow.spec.sections.published import PUBLISHED, PYRAMID_CHANNELS, published_model
from transferflow.spec.sections.task import ClassificationTask
from transferflow.spec.sections.training import Training
from transferflow.spec.sections.whole import Sections

_PATTERN_SIGNS = frozenset("*?[")
# Settings of the loop that change weights: they mean nothing where nothing is trained.
_NOTHING = {"epochs": 0}
"""What says in words that nothing is trained."""
_TRAINING_ONLY = (
    "epochs",
    "early_stopping",
    "ema",
    "class_weights",
    "label_smoothing",
    "gradient_clip",
)


def _head_belongs_to_the_task(spec: Sections) -> Iterator[Found]:
    heads = [head.kind for head in spec.task.traits.heads]
    if spec.head.kind not in heads:
        allowed = ", ".join(heads)
        yield ("head", "kind"), f"{spec.head.kind} is no head for {spec.task.kind}; allowed: {allowed}"


def _named_with_a_rate(spec: Sections) -> list[str]:
    """Names with a rate; what a pattern means is known once the model is, so that the plan checks it."""
    return [rule for rule in spec.optimizer.layer_lr if not _PATTERN_SIGNS.intersection(rule)]


def _frozen_groups_have_no_rate(spec: Sections) -> Iterator[Found]:
    match spec.freeze:
        case FreezeUntil(until=last):
            frozen: tuple[str, ...] = (last,)
        case FreezeLayers(layers=layers):
            frozen = layers
        case _:
            return
    for group in _named_with_a_rate(spec):
        if any(fnmatchcase(group, name) for name in frozen):
            message = f"{group} is frozen by freeze.{spec.freeze.policy}: it has no rate"
            yield ("optimizer", "layer_lr", group), message


def _groups_with_a_rate_train_in_a_phase(spec: Sections) -> Iterator[Found]:
    if not isinstance(spec.freeze, FreezePhases):
        return
    trained = [pattern for phase in spec.freeze.phases for pattern in phase.train]
    for group in _named_with_a_rate(spec):
        if not any(fnmatchcase(group, pattern) for pattern in trained):
            yield ("optimizer", "layer_lr", group), f"{group} trains in no phase of freeze.phases"


def _frozen_backbone_has_no_rate(spec: Sections) -> Iterator[Found]:
    if not isinstance(spec.freeze, FreezeBackbone):
        return
    for name in ("backbone_lr_scale", "layer_decay"):
        if getattr(spec.optimizer, name) is not None:
            is_default = spec.freeze == default_freeze(spec.task)
            default = f" (the default for {spec.task.kind})" if is_default else ""
            message = f"the backbone is frozen by freeze.policy backbone{default}: it has no rate"
            yield ("optimizer", name), message


def _random_weights_are_not_frozen(spec: Sections) -> Iterator[Found]:
    keeps = isinstance(spec.freeze, FreezeBackbone | FreezeUntil | FreezeLayers)
    if keeps and is_random(spec.backbone):
        message = "freezes random weights (backbone.weights is none): use policy none or phases"
        yield ("freeze", "policy"), message


def _phases_fit_the_epochs(spec: Sections) -> Iterator[Found]:
    if isinstance(spec.freeze, FreezePhases):
        before_last = sum(phase.epochs for phase in spec.freeze.phases[:-1])
        if before_last >= spec.training.epochs > 0:
            epochs = spec.training.epochs
            message = f"the last phase starts at epoch {before_last + 1}; training ends with epoch {epochs}"
            yield ("freeze", "phases"), message


def _text_needs_clip(spec: Sections) -> Iterator[Found]:
    head = spec.head
    needs_text = isinstance(head, ZeroShotHead) or (isinstance(head, LinearHead) and head.init == "text")
    if needs_text and spec.backbone.source != "timm":
        message = (
            "text prompts need a CLIP backbone: source timm with CLIP weights, such as "
            "vit_base_patch16_clip_quickgelu_224 openai"
        )
        yield ("backbone", "source"), message
    if isinstance(head, LinearHead) and head.init == "text" and head.hidden:
        yield ("head", "hidden"), "`init: text` needs a head without hidden layers: `hidden: []`"
    if isinstance(head, LinearHead) and head.init != "text" and head.prompts != LinearHead().prompts:
        yield ("head", "prompts"), "prompts are for `init: text` and for `kind: zero_shot`"


def _classes_are_for_tasks_with_classes(spec: Sections) -> Iterator[Found]:
    if not spec.task.truth.is_number:
        return
    why = f"{spec.task.kind} has no classes"
    if spec.data.classes is not None:
        yield ("data", "classes"), f"{why}: remove it; data.columns.label names the column of the number"
    if isinstance(spec.head, LinearHead):
        if spec.head.init in ("prototypes", "text"):
            yield ("head", "init"), f"{why} to start {spec.head.init} from; allowed: default, zero"
        if spec.head.warm_start is not None:
            yield ("head", "warm_start"), f"{why} whose rows could be carried over"


def _zero_shot_trains_nothing(spec: Sections) -> Iterator[Found]:
    if not isinstance(spec.head, ZeroShotHead):
        return
    why = "means nothing with a zero_shot head, which trains nothing: remove it"
    # Compared with the defaults: a spec that was written out whole and read back names every key.
    if spec.optimizer != AdamW():
        yield ("optimizer",), why
    if spec.schedule != Cosine():
        yield ("schedule",), why
    if not isinstance(spec.freeze, FreezeBackbone | FreezeNone):
        yield ("freeze", "policy"), why
    for name in _TRAINING_ONLY:
        if getattr(spec.training, name) not in (getattr(Training(), name), _NOTHING.get(name)):
            yield ("training", name), why
    for name in ("mixup", "cutmix"):
        if getattr(spec.augmentation, name) > 0:
            yield ("augmentation", name), why
    if isinstance(spec.task, ClassificationTask) and spec.task.multilabel:
        yield ("head", "kind"), "zero_shot chooses one class per image: it can't do `multilabel`"


def _without_an_epoch_the_head_must_fit(spec: Sections) -> Iterator[Found]:
    """A last layer that starts at random, or at zero, knows no class."""
    if spec.training.epochs > 0 or isinstance(spec.head, ZeroShotHead):
        return
    head = spec.head
    knows = isinstance(head, LinearHead) and (head.starts_with_classes or head.warm_start is not None)
    if keeps_published_head(spec):
        return
    if not knows or spec.task.truth.is_number:
        message = (
            "0 trains nothing, and this head starts without knowing a class; what fits: a plain linear head "
            "on ImageNet weights, head.init prototypes or text, head.warm_start champion, or head.kind "
            "zero_shot, all for classification; a published detector (backbone resnet50 of torchvision, "
            "weights COCO_V1) or segmenter (COCO_WITH_VOC_LABELS_V1)"
        )
        yield ("training", "epochs"), message


def _whole_checkpoints_have_their_head(spec: Sections) -> Iterator[Found]:
    backbone = spec.backbone
    if not isinstance(backbone, CheckpointBackbone) or published_model(spec.head, backbone) is not None:
        return
    for kind, known in PUBLISHED.items():
        if backbone.library == "torchvision" and backbone.name == known.name:
            wide = f" with pyramid_channels {PYRAMID_CHANNELS}" if spec.head.kind == kind else ""
            yield ("backbone", "name"), f"{known.name} is a whole model: it goes with head.kind {kind}{wide}"


def _auxiliary_settings_need_the_head(spec: Sections) -> Iterator[Found]:
    head = spec.head
    if (
        isinstance(head, SegmentationHead)
        and not head.auxiliary
        and head.auxiliary_weight != SegmentationHead(kind=head.kind).auxiliary_weight
    ):
        yield ("head", "auxiliary_weight"), "there is no auxiliary head: `auxiliary` is false"


MODEL_RULES = (
    _head_belongs_to_the_task,
    _frozen_groups_have_no_rate,
    _groups_with_a_rate_train_in_a_phase,
    _frozen_backbone_has_no_rate,
    _random_weights_are_not_frozen,
    _phases_fit_the_epochs,
    _text_needs_clip,
    _classes_are_for_tasks_with_classes,
    _zero_shot_trains_nothing,
    _without_an_epoch_the_head_must_fit,
    _whole_checkpoints_have_their_head,
    _auxiliary_settings_need_the_head,
)
