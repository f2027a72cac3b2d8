from __future__ import annotations

import numpy as np
import pytest

from transferflow.evaluation.classification.measure import evaluate_classification
from transferflow.evaluation.statistics.bootstrap import bootstrap_values, resample_weights
from transferflow.evaluation.statistics.clusters import LEAST_CLUSTERS, Clusters, decide_clusters
from transferflow.evaluation.statistics.comparison import compare_paired


@pytest.mark.parametrize("groups", [[], [None] * 30, [str(number) for number in range(30)]])
def test_images_that_stand_for_themselves_are_drawn_one_by_one(groups):
    assert decide_clusters(groups) == Clusters()


def test_groups_are_drawn_whole_and_images_without_one_stand_for_themselves():
    clusters = decide_clusters(["anna", "bert", "anna", None, None, *map(str, range(10))])
    assert clusters.of_image is not None
    assert clusters.of_image.tolist() == [0, 1, 0, 12, 13, *range(2, 12)]
    assert clusters.drawn.startswith("14 groups")


def test_few_groups_are_not_drawn_and_that_is_said():
    clusters = decide_clusters(["anna", "bert"] * 20)
    assert clusters.of_image is None
    assert "its 2 groups are too few" in clusters.drawn


def test_each_draw_takes_whole_groups():
    of_image = np.repeat(np.arange(12), 3)
    (weights,) = resample_weights(36, 50, 0, of_image)
    by_group = weights.reshape(50, 12, 3)
    assert (by_group == by_group[:, :, :1]).all()
    assert (by_group[:, :, 0].sum(axis=1) == 12).all()


def test_copies_of_each_image_add_no_certainty():
    """Ten copies of each of 40 images are no 400 images: the interval must stay that of the 40."""
    right = (np.random.default_rng(0).random(40) < 0.7).astype(float)

    def accuracy(values):
        return lambda weights: weights @ values / weights.sum(axis=1)

    alone = bootstrap_values(accuracy(right), 40, 2000, 0)
    copied = np.repeat(right, 10)
    whole = bootstrap_values(accuracy(copied), 400, 2000, 0, np.repeat(np.arange(40), 10))
    naive = bootstrap_values(accuracy(copied), 400, 2000, 0)
    assert whole == pytest.approx(alone)
    assert alone.std() == pytest.approx(np.sqrt(right.var() / 40), rel=0.1)
    assert naive.std() < alone.std() / 2


def test_a_gain_on_the_images_of_one_patient_does_not_promote():
    """Five of 12 patients get worse, seven better, with many images each: chance may have made that."""
    patient = np.repeat(np.arange(12), 50)
    champion = np.full(600, 0.5)
    challenger = np.where(patient < 7, 0.55, 0.45)

    def mean(values):
        return lambda weights: weights @ values / weights.sum(axis=1)

    options = {"images": 600, "resamples": 1000, "seed": 0}
    assert compare_paired(mean(champion), mean(challenger), **options).low > 0
    assert compare_paired(mean(champion), mean(challenger), **options, clusters=patient).low < 0


def test_the_evaluation_says_what_was_drawn():
    random = np.random.default_rng(0)
    chance = random.random(LEAST_CLUSTERS * 20)
    probabilities = np.stack([1 - chance, chance], axis=1)
    targets = (random.random(chance.size) < chance).astype(int)
    options = {"metrics": ["accuracy"], "multilabel": False, "bootstrap": 500, "seed": 0, "specificity": 0.9}
    patients = [f"patient {number // 20}" for number in range(chance.size)]
    plain = evaluate_classification(probabilities, targets, ["no", "yes"], **options)
    grouped = evaluate_classification(probabilities, targets, ["no", "yes"], **options, groups=patients)
    assert plain.drawn == "images"
    assert grouped.drawn.startswith(f"{LEAST_CLUSTERS} groups")
    assert grouped.metrics["accuracy"].value == plain.metrics["accuracy"].value
    assert grouped.metrics["accuracy"].low != plain.metrics["accuracy"].low
