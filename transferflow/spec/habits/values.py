"""Foreign values of a key, and foreign names of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_COSINE = ("onecycle", "one_cycle", "linear", "poly", "polynomial", "warmup_cosine", "cosine_with_warmup")
_STEPS = ("step", "multistep", "exponential", "plateau", "reduce_on_plateau", "reducelronplateau")

VALUES: Mapping[str, Mapping[str, str]] = {
    "task.kind": {
        "classify": "classification",
        "image_classification": "classification",
        "multilabel": "classification",
        "object_detection": "detection",
        "detect": "detection",
        "segment": "segmentation",
        "semantic_segmentation": "segmentation",
    },
    "data.format": {
        "folder": "image_folder",
        "folders": "image_folder",
        "imagefolder": "image_folder",
        "directory": "image_folder",
        "yolov5": "yolo",
        "yolov8": "yolo",
        "ultralytics": "yolo",
        "darknet": "yolo",
        "pascal": "voc",
        "pascal_voc": "voc",
        "voc2007": "voc",
        "voc2012": "voc",
        "coco_json": "coco",
        "table": "csv",
        "tsv": "csv",
        "excel": "csv",
        "mask": "mask_folder",
        "masks": "mask_folder",
        "png_masks": "mask_folder",
    },
    "data.fit": {"pad": "letterbox", "squash": "stretch", "resize": "stretch", "center_crop": "crop"},
    "data.intensity.kind": {"minmax": "percentile", "min_max": "percentile", "none": "full_range"},
    "backbone.source": {
        "huggingface": "timm",
        "hf": "timm",
        "hub": "timm",
        "torch": "torchvision",
        "torchvision.models": "torchvision",
        "file": "checkpoint",
        "local": "checkpoint",
        "path": "checkpoint",
        "url": "checkpoint",
        "pip": "package",
    },
    "freeze.policy": {
        "all": "backbone",
        "true": "backbone",
        "encoder": "backbone",
        "linear_probe": "backbone",
        "feature_extraction": "backbone",
        "head_only": "backbone",
        "full": "none",
        "false": "none",
        "finetune": "none",
        "gradual": "phases",
    },
    "head.kind": {
        "mlp": "linear",
        "fc": "linear",
        "fasterrcnn": "faster_rcnn",
        "yolo": "fcos",
        "ssd": "retinanet",
        "unet": "lite",
        "deeplab": "deeplabv3",
        "deeplabv3plus": "deeplabv3",
        "clip": "zero_shot",
    },
    "optimizer.kind": {
        "adam": "adamw",
        "nadam": "adamw",
        "rmsprop": "adamw",
        "momentum": "sgd",
        "lamb": "adamw",
    },
    "schedule.kind": {
        **dict.fromkeys((*_COSINE, *_STEPS), "cosine"),
        "none": "constant",
        "fixed": "constant",
        "constant_with_warmup": "constant",
    },
    "augmentation.preset": {
        "true": "similar_domain",
        "default": "similar_domain",
        "auto": "similar_domain",
        "light": "similar_domain",
        "strong": "different_domain",
        "heavy": "different_domain",
        "medical": "different_domain",
        "false": "none",
    },
    "training.device": {"gpu": "cuda", "0": "cuda", "cuda:0": "cuda"},
    "training.precision": {
        "16": "fp16",
        "half": "fp16",
        "float16": "fp16",
        "16_mixed": "fp16",
        "16_true": "fp16",
        "32": "fp32",
        "float32": "fp32",
        "full": "fp32",
        "single": "fp32",
        "false": "fp32",
        "bfloat16": "bf16",
        "bf16_mixed": "bf16",
        "mixed": "auto",
        "amp": "auto",
        "true": "auto",
    },
    "training.class_weights": {
        "true": "balanced",
        "auto": "balanced",
        "inverse": "balanced",
        "equal": "null",
    },
    "training.workers": {"-1": "auto"},
    "data.channels": {"gray": "1", "grey": "1", "grayscale": "1", "l": "1", "rgb": "3", "color": "3"},
}
"""Key path, and foreign value to the choice that comes nearest."""

METRICS: Mapping[str, Sequence[str]] = {
    "acc": ("accuracy", "pixel_accuracy"),
    "top1": ("accuracy",),
    "accuracytop1": ("accuracy",),
    "f1": ("macro_f1", "dice"),
    "f1score": ("macro_f1", "dice"),
    "f1macro": ("macro_f1",),
    "macrof1score": ("macro_f1",),
    "auc": ("auroc",),
    "rocauc": ("auroc",),
    "aucroc": ("auroc",),
    "ap": ("average_precision", "map"),
    "prauc": ("average_precision",),
    "sensitivity": ("sensitivity_at_specificity",),
    "recall": ("average_recall",),
    "calibration": ("ece",),
    "map05": ("map50",),
    "map050": ("map50",),
    "ap50": ("map50",),
    "map50": ("map50",),
    "map075": ("map75",),
    "ap75": ("map75",),
    "map5095": ("map",),
    "map05095": ("map",),
    "map050095": ("map",),
    "ar": ("average_recall",),
    "iou": ("miou",),
    "jaccard": ("miou",),
    "jaccardindex": ("miou",),
    "meaniou": ("miou",),
    "dicescore": ("dice",),
    "dicecoef": ("dice",),
    "dicecoefficient": ("dice",),
    "pixelacc": ("pixel_accuracy",),
    "accuracy": ("pixel_accuracy", "accuracy"),
}
"""Foreign name of a metric without signs, and ours; the first that the task has is meant."""


def known_metric(word: str, known: Sequence[str]) -> str:
    """Our name of a metric that other tools call so; empty where there is none."""
    plain = "".join(character for character in word.lower() if character.isalnum())
    plain = plain.removeprefix("val").removeprefix("test")
    return next((name for name in METRICS.get(plain, ()) if name in known), "")


TOLD_MISSING: Mapping[str, str] = {
    "data.format": "a folder per class is `image_folder`, a table `csv` or `parquet`",
    "backbone.source": "as in `backbone: {source: torchvision, name: resnet50}`; weights that you have as a "
    "file: `source: checkpoint`",
    "freeze.policy": "`none` trains everything, `backbone` the head alone; `until`, `layers` and `phases` "
    "name layer groups",
    "task.kind": "as in `task: {kind: classification}`",
}
"""Key path, and what to write there when nothing does."""

TOLD_VALUES: Mapping[str, str] = {
    "backbone": "name it with its source: `backbone: {source: timm, name: resnet34}`; `transferflow "
    "backbones list --search WORD` shows what there is (YOLO's models are none of them)",
    "backbone.name": "timm has many more: `source: timm`; `transferflow backbones list --search WORD` shows "
    "them",
    "backbone.source": "weights that you have as a file: `source: checkpoint`",
    "backbone.weights": "the name of published weights, `DEFAULT`, or `none` for random ones",
    "freeze": "name the last frozen layer group: `freeze: {policy: until, until: layer2}`; `transferflow "
    "plan` lists the groups",
    "freeze.policy": TOLD_MISSING["freeze.policy"],
    "augmentation": "`augmentation: {preset: similar_domain}`, or albumentations by name: `augmentation: "
    "{transforms: [{name: HorizontalFlip}]}`",
    "augmentation.preset": "`similar_domain` is mild, `different_domain` stronger, `none` nothing",
    "optimizer.lr": "it is the head's rate; `layer_lr: {layer4: 1e-4}` gives groups another, `layer_decay: "
    "0.75` lets the rates fall towards the input",
    "training.class_weights": "a weight for each class, by its name: `class_weights: {cat: 1.0, dog: 2.0}`; "
    "or `class_weights: balanced`",
    "training.device": "`auto` takes a GPU where there is one; `CUDA_VISIBLE_DEVICES=1` chooses one of "
    "several",
    "data.classes": "the names, in order: `classes: [cat, dog]`; left out, they come from the data",
    "data.split": "shares that sum to 1: `split: {train: 0.8, val: 0.1, test: 0.1}`",
    "data.format": TOLD_MISSING["data.format"],
    "data.image_size": "the side of a square in pixels, or `[height, width]`; `data.fit` says how",
    "data.cache": "decoded images are cached up to 20 GB; `cache: null` switches it off",
    "data.intensity": "`intensity: {kind: percentile}`, or `window` with level and width",
    "data.channels": "1 for gray, 3 for colour",
    "registration.gate": "what it takes to be promoted: `gate: {metric: accuracy, minimum: 0.9}`",
    "deployment.schedule": "five cron fields: `schedule: {cron: '0 3 * * *'}` is each day at 3:00; or "
    "`{interval: 6h}`, or `{rrule: 'FREQ=MONTHLY;BYDAY=1MO'}`",
    "task": "`task: {kind: classification}`, `detection` or `segmentation`",
    "task.kind": "masks of single objects and keypoints are not learned",
}
"""Key path, and what to write there when no better is known."""
