"""Report data of several shapes, and a headless browser."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.ndimage import gaussian_filter
from selenium import webdriver
from skimage.data import coins

from transferflow.data.records import Box
from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.evaluation.detection.matching import ImageTruth
from transferflow.evaluation.detection.measure import evaluate_detection
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.evaluation.regression import evaluate_regression
from transferflow.evaluation.segmentation.counts import count_mask
from transferflow.evaluation.segmentation.measure import evaluate_segmentation, image_iou
from transferflow.report.contents import (
    DataSummary,
    LayerRow,
    Lineage,
    ReportData,
    TrainingSummary,
    VerdictSummary,
)
from transferflow.spec.sections.guide import positive_class
from transferflow.spec.sections.metrics import (
    DETECTION,
    MULTI_LABEL,
    REGRESSION,
    SEGMENTATION,
    SINGLE_LABEL,
)
from transferflow.spec.sections.task import ClassificationTask
from transferflow.tasks.classification import Classification
from transferflow.tasks.detection import Detection
from transferflow.tasks.regression import Regression
from transferflow.tasks.rendering.drawing import draw_boxes, draw_mask
from transferflow.tasks.segmentation import Segmentation
from transferflow.training.job import PhaseProof

SPEC_TEXT = """\
name: digits
task: {kind: classification}
data: {format: image_folder, root: data/digits, image_size: 64}
backbone: {source: package, name: efficientnet_lite0}
freeze: {policy: until, until: blocks.3}
optimizer: {kind: adamw, lr: 1e-3}
"""


def pictures(count, names, side=28, seed=0, hostile=""):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        image = (rng.random((side, side * (1 + number % 2), 3)) * 255).astype(np.uint8)
        image[side // 4 : side // 2, side // 4 : -side // 4] = (220, 120 + 10 * (number % 10), 40)
        truth, taken = names[number % len(names)], names[(number + 1) % len(names)]
        lines = (f"{truth}/{number:05}.png{hostile}", f"{taken} 0.98 · {truth} 0.01")
        found.append(Picture((Panel(image),), f"{truth}, taken for {taken}", lines))
    return tuple(found)


def history(epochs=8):
    rows = []
    for epoch in range(epochs):
        gain = 1 - np.exp(-epoch / 2)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": 2.0 - 1.6 * gain,
                "val_loss": 1.9 - 1.2 * gain + 0.02 * epoch,
                "accuracy": 0.4 + 0.5 * gain,
                "macro_f1": 0.35 + 0.5 * gain,
                "seconds": 12.0,
                "lr/blocks.4": 1e-4 * (1 - epoch / epochs),
                "lr/blocks.6": 3e-4 * (1 - epoch / epochs),
                "lr/head": 1e-3 * (1 - epoch / epochs),
            }
        )
    return tuple(rows)


def layers():
    rows = [LayerRow("stem", "backbone", 928, (False, False), None, None, None, ("eval", "eval"))]
    for block in range(7):
        trains = (False, block > 2)
        ever = block > 2
        rows.append(
            LayerRow(
                f"blocks.{block}",
                "backbone",
                4000 * 2**block,
                trains,
                1e-4 if ever else None,
                3e-4 if ever else None,
                0.05 if ever else None,
                ("eval", "train" if ever else "eval"),
            )
        )
    rows.append(LayerRow("head", "head", 12810, (True, True), 1e-3, 1e-3, 0.05))
    return tuple(rows)


def report_data(classes=10, images=500, *, names=None, multilabel=False, hostile="", seed=0):
    names = tuple(names or (f"class {c}" if classes > 10 else str(c) for c in range(classes)))
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)) * 1.1
    logits[np.arange(images), targets] += 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = targets
    if multilabel:
        truth = (rng.random((images, classes)) < 0.25) | (np.eye(classes)[targets] > 0)
        p = np.clip(0.55 * truth + 0.5 * rng.random((images, classes)), 0, 1)
    evaluation = evaluate_classification(
        p,
        truth,
        names,
        metrics=(MULTI_LABEL if multilabel else SINGLE_LABEL).names,
        multilabel=multilabel,
        bootstrap=200,
        seed=0,
        specificity=0.9,
    )
    proof = PhaseProof(0, 2, ("stem", "blocks.0", "blocks.1"), 84, "ab" * 32, "ab" * 32)
    counts = {"train": 8 * images, "val": images, "test": images}
    return ReportData(
        title=f"digits{hostile}",
        task="classification",
        traits=Classification.traits,
        evaluation=evaluation,
        classes=names,
        metrics=MULTI_LABEL if multilabel else SINGLE_LABEL,
        main_metric="accuracy",
        training=TrainingSummary(history(), "accuracy", 6, layers(), (0, 3), (proof,), True),
        data=DataSummary(
            counts,
            {split: dict.fromkeys(names, n // classes) for split, n in counts.items()},
            quarantined=2,
            samples=pictures(8, names, 200, 1),
        ),
        lineage=Lineage(
            SPEC_TEXT + hostile,
            "9f" * 32,
            {"prepare": "1a" * 32, "train": "2b" * 32, "evaluate": "3c" * 32},
            {"transferflow": "0.1.0", "torch": "2.15.0"},
            "transferflow run specs/digits.yaml",
        ),
        positive=positive_class(ClassificationTask(kind="classification", multilabel=multilabel), names),
        specificity=0.9,
        facts=(("backbone", "efficientnet_lite0"), ("device", "cpu, bf16"), ("trained", "2026-11-23 18:30")),
        worst=pictures(12, names, hostile=hostile),
        verdict=VerdictSummary(
            "PROMOTE", (f"accuracy 0.978 is at least 0.970.{hostile}", "There is no champion yet.")
        ),
        warnings=("Class 7 has 9 test images; its figures are wide open.",),
    )


def shared_parts(evaluation, classes, task, traits, metrics, worst, main_metric=None):
    """The classification report's other sections under another task's evaluation."""
    data = report_data(len(classes), 30)
    counts = {split: dict.fromkeys(classes, n) for split, n in data.data.counts.items()}
    return replace(
        data,
        task=task,
        traits=traits,
        title=f"{task} demo",
        positive=None,
        specificity=None,
        evaluation=evaluation,
        classes=classes,
        metrics=metrics,
        main_metric=main_metric or metrics.main,
        worst=worst,
        data=replace(data.data, class_counts=counts),
    )


def detection_report(images=40, hostile=""):
    classes = (f"tree{hostile}", "shrub")
    rng = np.random.default_rng(0)
    truths, rows = [], []
    for number in range(images):
        boxes = []
        for _ in range(rng.integers(0, 7)):
            (x, y), (w, h) = rng.random(2) * 190, np.exp(rng.uniform(2.2, 5, 2))
            box = Box(x, y, min(x + w, 383), min(y + h, 302), classes[rng.integers(0, 2)])
            boxes.append(box)
            if rng.random() < 0.8:
                shift = rng.normal(size=4) * 3
                corners = np.array([box.x_min, box.y_min, box.x_max, box.y_max]) + shift
                rows.append((f"{number}.png", box.label, 0.4 + 0.6 * rng.random(), *corners))
        for _ in range(rng.integers(0, 3)):
            x, y, w, h = rng.random(4) * 100 + 5
            rows.append(
                (f"{number}.png", classes[rng.integers(0, 2)], 0.6 * rng.random(), x, y, x + w, y + h)
            )
        truths.append(ImageTruth(f"{number}.png", tuple(boxes)))
    names = ("id", "label", "score", "x_min", "y_min", "x_max", "y_max")
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
    evaluation = evaluate_detection(table, truths, classes, metrics=DETECTION.names, bootstrap=100, seed=0)
    worst = []
    for truth in truths[:6]:
        found = [row for row in rows if row[0] == truth.id]
        boxes = [Box(*row[3:], row[1]) for row in found]
        worst.append(
            Picture(
                (
                    Panel(draw_boxes(coins(), truth.boxes, classes), "truth"),
                    Panel(draw_boxes(coins(), boxes, classes, [row[2] for row in found]), "prediction"),
                ),
                "2 missed, 1 false, 3 found",
                (truth.id,),
            )
        )
    return shared_parts(evaluation, classes, "detection", Detection.traits, DETECTION, tuple(worst), "map50")


def segmentation_report(images=12):
    classes = ("background", "nucleus", "border")
    truth = np.digitize(gaussian_filter(coins().astype(float), 2), [95, 150]).astype(np.uint8)
    counts, worst = [], []
    for number in range(images):
        noise = np.random.default_rng(number).normal(size=truth.shape)
        blurred = gaussian_filter(coins() + 60 * gaussian_filter(noise, 3), 2.5 + number / 4)
        predicted = np.digitize(blurred, [98, 147]).astype(np.uint8)
        counts.append(count_mask(predicted, truth, 3, 255))
        panels = [Panel(coins(), "image")]
        panels += [
            Panel(draw_mask(coins(), mask, (0,)), label)
            for mask, label in ((truth, "truth"), (predicted, "prediction"))
        ]
        worst.append(Picture(tuple(panels), f"mIoU {image_iou(counts[-1:])[0]:.3f}", (f"{number}.png",)))
    evaluation = evaluate_segmentation(counts, classes, metrics=SEGMENTATION.names, bootstrap=100, seed=0)
    return shared_parts(
        evaluation, classes, "segmentation", Segmentation.traits, SEGMENTATION, tuple(worst[:4])
    )


@pytest.fixture(scope="session")
def make_report():
    return report_data


@pytest.fixture(scope="session")
def make_detection_report():
    return detection_report


def regression_report(images=200, offset=1e4):
    rng = np.random.default_rng(0)
    truth = offset + 40 * rng.random(images)
    run = {"metrics": REGRESSION.names, "bootstrap": 100, "seed": 0}
    evaluation = evaluate_regression(truth + 2 * rng.normal(size=images), truth, "steps", **run)
    worst = tuple(Picture((Panel(coins()),), f"{t:.6g}, predicted 5", ("a.png",)) for t in truth[:3])
    return shared_parts(evaluation, ("steps",), "regression", Regression.traits, REGRESSION, worst)


@pytest.fixture(scope="session")
def make_regression_report():
    return regression_report


@pytest.fixture(scope="session")
def make_segmentation_report():
    return segmentation_report


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium with nothing but the page to load; a missing one fails, it never skips."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.fail("The report is looked at in a browser: install Debian's chromium and chromium-driver.")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    )
    for flag in flags:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()
