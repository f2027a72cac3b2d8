"""Examples of values: an editor shows them while a spec is written, and messages where a key is missing."""

from __future__ import annotations

from typing import Any

SPEC_EXAMPLE: dict[str, Any] = {
    "name": "chest-xray",
    "extends": "preset:medical",
    "data": {
        "format": "csv",
        "root": "data/xrays",
        "file": "labels.csv",
        "split": {"train": 0.8, "val": 0.1, "test": 0.1, "group_by": "patient_id"},
    },
    "training": {"epochs": 20, "early_stopping": {"metric": "auroc", "patience": 5}},
    "registration": {"gate": {"metric": "auroc", "minimum": 0.9}},
    "deployment": {"schedule": {"cron": "0 3 * * 1", "timezone": "Europe/Zurich"}},
}

# Model, then field, then examples of its value.
FIELD_EXAMPLES: dict[str, dict[str, list[Any]]] = {
    "ExperimentSpec": {
        "name": ["chest-xray"],
        "task": [{"kind": "classification"}],
        "data": [{"format": "image_folder", "root": "data/flowers", "image_size": 224}],
        "backbone": [
            {"source": "torchvision", "name": "resnet50", "weights": "IMAGENET1K_V2"},
            {"source": "timm", "name": "vit_base_patch16_224", "weights": "augreg_in21k"},
        ],
        "freeze": [
            {"policy": "layers", "layers": ["layer1", "layer2"]},
            {
                "policy": "phases",
                "phases": [
                    {"epochs": 3, "train": ["head"]},
                    {"epochs": 5, "train": ["layer4", "head"], "lr_scale": 0.3},
                ],
            },
        ],
        "head": [{"dropout": 0.5}, {"kind": "faster_rcnn"}, {"kind": "deeplabv3"}],
        "optimizer": [{"lr": 1e-3, "layer_lr": {"layer3": 1e-4, "layer4": 3e-4}}],
        "schedule": [{"kind": "cosine", "warmup_epochs": 1}],
        "augmentation": [
            {"preset": "different_domain"},
            {
                "transforms": [
                    {"name": "HorizontalFlip"},
                    {"name": "Rotate", "probability": 0.3, "args": {"limit": 15}},
                ]
            },
        ],
        "training": [{"epochs": 20, "batch_size": 32, "early_stopping": {"patience": 5}}],
    },
    "Split": {"group_by": ["patient_id"]},
    "Window": {"level": [40.0], "width": [400.0]},
    "TableData": {"file": ["labels.csv"]},
    "CocoData": {"annotations": ["annotations.json"]},
    "Normalization": {"mean": [[0.485, 0.456, 0.406]], "std": [[0.229, 0.224, 0.225]]},
    "CheckpointBackbone": {"weights": ["weights/chexpert.safetensors"], "prefix": ["module."]},
    "FreezeUntil": {"until": ["layer2", "blocks.3"]},
    "FreezeLayers": {"layers": [["layer1", "layer2"], ["blocks.*"]]},
    "Phase": {"train": [["head"], ["layer4", "head"]]},
    "AdamW": {"layer_lr": [{"layer3": 1e-4, "layer4": 3e-4}]},
    "Sgd": {"layer_lr": [{"layer3": 1e-3, "layer4": 3e-3}]},
    "Transform": {"name": ["HorizontalFlip", "Rotate"], "args": [{"limit": 15}]},
    "Training": {"class_weights": ["balanced"], "ema": [0.999]},
    "Evaluation": {"metrics": [["accuracy", "auroc", "ece"]]},
    "Gate": {"metric": ["auroc"], "minimum": [0.9]},
    "CronSchedule": {"cron": ["0 3 * * 1"], "timezone": ["Europe/Zurich"]},
    "IntervalSchedule": {"interval": ["6h"]},
    "RuleSchedule": {"rrule": ["FREQ=MONTHLY;BYDAY=1MO;BYHOUR=3"]},
    "Refresh": {"poll": ["*/30 * * * *", "30m"]},
}
