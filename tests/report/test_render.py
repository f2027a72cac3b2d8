from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.evaluation.detection.matching import ImageTruth
from transferflow.evaluation.detection.measure import evaluate_detection
from transferflow.evaluation.segmentation.counts import count_mask
from transferflow.evaluation.segmentation.measure import evaluate_segmentation
from transferflow.report.figures.by_name import task_charts
from transferflow.report.render import render_report, write_report
from transferflow.report.sections import class_legend, class_table
from transferflow.report.wording import DASH
from transferflow.tasks.rendering.drawing import class_colour

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
ODD_NAMES = (HOSTILE, "a$b$ \\frac{1}{", "long name " * 30, "猫 قط --> ]]>\x07")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def tags(page):
    parser = Tags()
    parser.feed(page)
    return parser.found


def test_a_class_keeps_its_colour_in_all_figures(make_report):
    data = make_report(4, 100)
    found = task_charts(data.traits.figures, data.evaluation, data.classes)
    charts = {chart.title: chart.svg for chart in found}
    for number in range(4):
        colour = "#{:02x}{:02x}{:02x}".format(*class_colour(number))
        assert colour in charts["ROC"]
        assert colour in charts["Precision and recall"]


def test_the_page_says_nothing_of_what_is_not_there(make_report):
    data = make_report(4, 400)
    page = render_report(data)
    assert not any(DASH in cell for row in class_table(data.evaluation).rows for cell in row)
    for absent in ("A dash stands", "without test images", "No file was left out"):
        assert absent not in page
    empty = replace(data.evaluation, per_class={"a": {"recall": float("nan"), "f1": 0.0, "support": 0}})
    page = render_report(replace(data, evaluation=empty))
    assert "A dash stands" in page
    assert "A class without test images" in page


def test_the_page_needs_nothing_else(make_report, tmp_path):
    write_report(make_report(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for tag, attributes in tags(page):
        assert tag not in {"script", "link", "iframe", "object"} or attributes.get("href") == "data:,"
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href"}:
                assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert "url(http" not in page
    assert "@import" not in page


def test_the_same_data_gives_the_same_page(make_report):
    assert render_report(make_report()) == render_report(make_report())


def test_no_control_character_and_no_password_is_on_the_page(make_report):
    names = ("\x1b[2Jred\x9b", "a\u202eb", "https://me:hunter2@host/x", "猫")
    page = render_report(make_report(4, 80, names=names, hostile="\x1b]0;title\x07\u2028"))
    assert not set(page) & set("\x1b\x07\x9b\u202e\u2028")
    assert "hunter2" not in page
    assert r"\x1b[2Jred\x9b" in page


def test_hostile_text_stays_text(make_report):
    page = render_report(make_report(4, 80, names=ODD_NAMES, hostile=HOSTILE))
    found = tags(page)
    assert not [tag for tag, _ in found if tag == "script"]
    assert not [a for _, a in found if any(name.startswith("on") for name in a)]
    assert not [a for tag, a in found if tag == "img" and not a["src"].startswith("data:")]
    assert "a$b$ \\frac{1}{" in page


@pytest.mark.parametrize("classes", [2, 3, 13, 41, 120, 250])
def test_any_number_of_classes(make_report, classes):
    page = render_report(make_report(classes, max(60, classes * 2)))
    assert ("Confusion matrix" in page) == (classes <= 200)
    assert page.count("<svg") == page.count("</svg>") >= 7


@pytest.mark.parametrize(
    ("names", "upright"),
    [(("cat", "dog", "owl"), False), (("cats", "dog", "owl"), True), (("a long name", "another one"), False)],
)
def test_names_below_the_confusion_matrix_lie_where_there_is_room(make_report, names, upright):
    page = render_report(make_report(len(names), 60, names=names))
    figure = page.partition("Confusion matrix")[2].partition("</svg>")[0]
    turned = re.findall(r"rotate\(-90[ )]", figure)
    assert len(turned) == 1 + (len(names) if upright else 0)  # the name of the vertical axis is one


def test_ids_are_unique_and_references_resolve(make_report):
    page = render_report(make_report())
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", page)) <= set(ids)


def test_multilabel_has_no_confusion_matrix(make_report):
    page = render_report(make_report(5, 100, multilabel=True))
    assert "Confusion matrix" not in page
    assert "F1 per class" in page


def test_a_test_split_of_one_class_says_why_auroc_is_missing(make_report):
    evaluation = evaluate_classification(
        np.tile([0.3, 0.7], (10, 1)),
        np.ones(10, int),
        ("ok", "scratch"),
        metrics=["accuracy", "auroc"],
        multilabel=False,
        bootstrap=20,
        seed=0,
        specificity=0.9,
    )
    page = render_report(replace(make_report(2, 50, names=("ok", "scratch")), evaluation=evaluation))
    assert "All 10 images are of one class (scratch)" in page


def test_of_two_classes_the_positive_one_is_named(make_report):
    data = replace(make_report(2, 60, names=("normal", "ill")), specificity=0.8)
    page = render_report(data)
    assert "Of the two classes, ill is the positive one." in page
    assert ">Sensitivity of ill at specificity 0.80<" in page
    assert "share of the images of ill that are found" in page
    assert "<summary>Operating point of ill at specificity 0.80</summary>" in page
    assert "95 % interval (each image for itself)" in page


@pytest.mark.parametrize("multilabel", [True, False])
def test_where_each_class_has_its_turn_none_is_positive(make_report, multilabel):
    page = render_report(make_report(3, 60, multilabel=multilabel))
    assert "positive one" not in page
    assert ">Operating points at specificity 0.90<" in page
    assert (">Sensitivity at specificity 0.90<" in page) != multilabel


def test_detection_draws_its_own_figures(make_detection_report):
    page = render_report(make_detection_report(hostile=HOSTILE))
    for title in (
        "Precision and recall",
        "What a least score costs",
        "By size of the object",
        "AP50 per class",
    ):
        assert f"<h3>{title}</h3>" in page
    assert not [tag for tag, _ in tags(page) if tag == "script"]
    assert page.count('class="swatches"') == 1


def test_segmentation_draws_its_own_figures(make_segmentation_report):
    page = render_report(make_segmentation_report())
    for title in ("IoU per class", "Confusion matrix", "Spread over the images"):
        assert f"<h3>{title}</h3>" in page
    assert "In percent of the row." in page


def test_a_detector_without_any_true_box_has_a_report(make_detection_report):
    data = make_detection_report()
    empty = pa.table({name: [] for name in ("id", "label", "score", "x_min", "y_min", "x_max", "y_max")})
    evaluation = evaluate_detection(
        empty, [ImageTruth("a", ())], data.classes, metrics=["map"], bootstrap=10, seed=0
    )
    page = render_report(replace(data, evaluation=evaluation, main_metric="map"))
    assert "no true box" in page


def test_the_barest_report(make_report):
    data = make_report(2, 20)
    bare = replace(
        data,
        verdict=None,
        worst=(),
        warnings=(),
        facts=(),
        training=replace(data.training, history=(), layers=(), proofs=()),
        data=replace(data.data, samples=(), class_counts={}),
    )
    page = render_report(bare)
    assert 'href="#errors"' not in page
    assert ">PROMOTE<" not in page


def test_rates_that_reach_zero_and_losses_that_are_not_finite(make_report):
    data = make_report(2, 20)
    history = ({"loss": float("nan"), "lr/head": 0.0}, {"loss": float("inf"), "lr/head": 0.0})
    page = render_report(replace(data, training=replace(data.training, history=history)))
    assert "Learning rates" in page


def test_a_changed_frozen_tensor_is_shown_as_changed(make_report):
    data = make_report(2, 20)
    proof = replace(data.training.proofs[0], after="cd" * 32)
    page = render_report(replace(data, training=replace(data.training, proofs=(proof,))))
    assert '<span class="pill CHANGED">CHANGED</span>' in page


def figures(page):
    """The text of each figure under its title; words of an SVG stand in its text elements."""
    found = re.findall(r"<h3>([^<]+)</h3>(.*?)</svg>", page, re.DOTALL)
    return {title: set(re.findall(r">([^<>]+)</text>", drawing)) for title, drawing in found}


def test_parts_of_the_loss_stand_with_the_loss(make_segmentation_report):
    data = make_segmentation_report()
    history = tuple(
        {"train_loss": 1.0, "train_cross_entropy": 0.6, "train_dice": 0.4, "miou": 0.5, "dice": 0.6}
        | {"val_loss": 1.1, "val_cross_entropy": 0.7, "val_dice": 0.4}
        for _ in range(2)
    )
    drawn = figures(render_report(replace(data, training=replace(data.training, history=history))))
    assert {"train cross entropy", "train Dice", "val loss", "val cross entropy", "val Dice"} <= drawn["Loss"]
    assert {"mIoU", "Dice"} <= drawn["Validation metrics"]
    assert not any(word.startswith(("train", "val")) for word in drawn["Validation metrics"])


def test_the_legend_has_no_colour_for_the_background(make_segmentation_report):
    data = make_segmentation_report()
    assert [name for name, _ in class_legend(data)] == ["nucleus", "border"]
    assert class_legend(data)[0][1] == f"rgb({' '.join(map(str, class_colour(1)))})"


def test_nothing_measured_draws_no_empty_figure(make_segmentation_report, make_detection_report):
    ignored = np.full((8, 8), 255, np.uint8)
    data = make_segmentation_report()
    evaluation = evaluate_segmentation(
        [count_mask(ignored * 0, ignored, 3, 255)], data.classes, metrics=("miou",), bootstrap=10, seed=0
    )
    page = render_report(replace(data, evaluation=evaluation))
    assert "The images hold no pixel" in page
    for title in ("IoU per class", "Confusion matrix", "Spread over the images"):
        assert f"<h3>{title}</h3>" not in page
    data = make_detection_report()
    empty = pa.table({name: [] for name in ("id", "label", "score", "x_min", "y_min", "x_max", "y_max")})
    evaluation = evaluate_detection(
        empty, [ImageTruth("a", ())], data.classes, metrics=["map"], bootstrap=10, seed=0
    )
    page = render_report(replace(data, evaluation=evaluation))
    for title in ("What a least score costs", "By size of the object", "AP50 per class"):
        assert f"<h3>{title}</h3>" not in page


def test_a_class_that_is_predicted_but_not_there_has_a_bar(make_segmentation_report):
    truth = np.zeros((8, 8), np.uint8)
    predicted = truth.copy()
    predicted[:2] = 1
    data = make_segmentation_report()
    evaluation = evaluate_segmentation(
        [count_mask(predicted, truth, 3, 255)], data.classes, metrics=("miou",), bootstrap=0, seed=0
    )
    page = render_report(replace(data, evaluation=evaluation, warnings=()))
    assert "nucleus" in figures(page)["IoU per class"]
    assert "border" not in figures(page)["IoU per class"]
    assert "has an IoU and a Dice of 0, which count in the means" in page


def test_one_epoch_has_one_tick(make_report):
    data = make_report(2, 20)
    training = replace(data.training, history=data.training.history[:1], best_epoch=0, phase_starts=(0,))
    drawn = figures(render_report(replace(data, training=training)))
    assert not [word for word in drawn["Validation metrics"] if re.fullmatch(r"[01]\.9\d+|1\.0\d+", word)]
    assert "1" in drawn["Validation metrics"]


def test_regression_draws_its_own_figure_and_no_bar_of_percent(make_regression_report):
    page = render_report(make_regression_report())
    assert "Truth and prediction" in page
    assert "Confusion matrix" not in page
    assert 'id="classes"' not in page
    assert "number (images)" in page
    cards = [attributes for _, attributes in tags(page) if attributes.get("class", "").startswith("box card")]
    assert len(cards) == 3
    assert '<div class="bar">' not in page
