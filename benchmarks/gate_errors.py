"""How often the gate errs: false promotions, power, and whether losses add up over many refreshes.

    python benchmarks/gate_errors.py --metric accuracy --images 200
    python benchmarks/gate_errors.py --creep

Models are simulated: both see the same images, hard ones are hard for both, and their true difference is
known. The comparison and the decision are the gate's own. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transferflow.data.records import Box
from transferflow.evaluation.classification.delong import delong_difference
from transferflow.evaluation.classification.statistics import build_sample
from transferflow.evaluation.classification.statistics import build_statistic as classification_statistic
from transferflow.evaluation.detection.matching import ImageTruth
from transferflow.evaluation.detection.measure import detection_statistic
from transferflow.evaluation.results import MetricValue
from transferflow.evaluation.segmentation.counts import MaskCounts
from transferflow.evaluation.segmentation.measure import build_segmentation_statistic
from transferflow.evaluation.statistics.bootstrap import Statistic
from transferflow.evaluation.statistics.comparison import compare_paired
from transferflow.registry.deciding import decide_verdict
from transferflow.registry.gate import ChampionComparison, GateRule, Measured, Opponents, VerdictKind
from transferflow.tasks.paired_tests import PairedTest, mcnemar_test

RESAMPLES = 1000
CLASSES = 3
GAINS = (0.0, 0.01, 0.02, 0.05)
CREEP_STEP, CREEP_MARGIN, REFRESHES = 0.003, 0.01, 50


@dataclass(frozen=True)
class Pair:
    """Two models on the same images, and the test of its own that their metric has."""

    champion: Statistic
    challenger: Statistic
    test: PairedTest | None = None


Draw = Callable[[np.random.Generator, int, float], Pair]


def labels(random: np.random.Generator, images: int, gain: float, metric: str) -> Pair:
    """Two classifiers of three classes, 85 % right; the second by `gain` more often."""
    truth = random.integers(0, CLASSES, images)
    hardness = random.beta(5.1, 0.9, images)  # mean 0.85
    statistics = []
    for extra in (0.0, gain):
        right = random.random(images) < hardness + extra * (1 - hardness) / 0.15
        said = np.where(right, truth, (truth + random.integers(1, CLASSES, images)) % CLASSES)
        sample = build_sample(np.eye(CLASSES)[said], truth, CLASSES, multilabel=False)
        statistics.append(_column(classification_statistic(sample, [metric], 0.9)))
    return Pair(*statistics, mcnemar_test(metric, *statistics, images))


def scores(random: np.random.Generator, images: int, gain: float) -> Pair:
    """Two rankings of two classes, AUROC 0.85 and `gain` more; half of what is noise is shared."""
    from scipy.stats import norm

    truth = np.arange(images) % 2
    shared = random.normal(size=images)
    statistics, ranked = [], []
    for area in (0.85, 0.85 + gain):
        noise = (shared + random.normal(size=images)) / np.sqrt(2)
        score = noise + truth * np.sqrt(2) * norm.ppf(area)
        probability = 1 / (1 + np.exp(-score))
        sample = build_sample(np.stack([1 - probability, probability], 1), truth, 2, multilabel=False)
        statistics.append(_column(classification_statistic(sample, ["auroc"], 0.9)))
        ranked.append(score)
    found = delong_difference(*ranked, truth == 1, 0.95)
    test = found and PairedTest("DeLong's test", found.p_value, (found.low, found.high))
    return Pair(*statistics, test)


def boxes(random: np.random.Generator, images: int, gain: float) -> Pair:
    """Two detectors that find 60 % of 1 to 8 objects an image, the second `gain` more, and nothing false.

    What is found is found exactly, so that mAP is the share that is found.
    """
    sides = np.array([0.0, 0.0, 20.0, 20.0])
    truths, hardness = [], []
    for number in range(images):
        objects = int(random.integers(1, 9))
        corners = [sides + 30.0 * place for place in range(objects)]
        truths.append(ImageTruth(str(number), tuple(Box(*corner, "a") for corner in corners)))
        hardness.append(random.beta(3, 2, objects))  # mean 0.6
    statistics = []
    for extra in (0.0, gain):
        rows = [
            (truth.id, "a", random.random(), box.x_min, box.y_min, box.x_max, box.y_max)
            for truth, hard in zip(truths, hardness, strict=True)
            for box, ease in zip(truth.boxes, hard + extra * (1 - hard) / 0.4, strict=True)
            if random.random() < ease
        ]
        names = ("id", "label", "score", "x_min", "y_min", "x_max", "y_max")
        table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
        statistics.append(detection_statistic(table, truths, ("a",), "map"))
    return Pair(*statistics)


def masks(random: np.random.Generator, images: int, gain: float) -> Pair:
    """Two segmenters of two classes of equal size; wrong pixels are fewer by what raises mIoU by `gain`."""
    pixels, none = 4096, np.zeros((2, 4), np.int64)
    hardness = random.beta(2, 18, images)  # wrong pixels: a tenth
    statistics = []
    for overlap in (0.9 / 1.1, 0.9 / 1.1 + gain):
        wrong_share = (1 - overlap) / (1 + overlap) / 0.1
        counts = []
        for hard in hardness:
            wrong = random.binomial(pixels, min(0.5, hard * wrong_share * random.uniform(0.5, 1.5)), 2)
            right = pixels - wrong
            counts.append(MaskCounts(np.array([[right[0], wrong[0]], [wrong[1], right[1]]]), none))
        statistics.append(_column(build_segmentation_statistic(counts, ["miou"])))
    return Pair(*statistics)


def _column(statistic: Statistic) -> Statistic:
    return lambda weights: statistic(weights)[:, 0]


PAIRS: dict[str, Draw] = {
    "accuracy": lambda random, images, gain: labels(random, images, gain, "accuracy"),
    "macro_f1": lambda random, images, gain: labels(random, images, gain, "macro_f1"),
    "auroc": scores,
    "map": boxes,
    "miou": masks,
}


def compare(pair: Pair, images: int, seed: int) -> ChampionComparison:
    """As the register stage does it."""
    found = compare_paired(pair.champion, pair.challenger, images=images, resamples=RESAMPLES, seed=seed)
    return ChampionComparison(
        "1",
        found.champion,
        found.difference,
        found.low,
        found.high,
        images,
        p_value=pair.test.p_value if pair.test else None,
        test=pair.test.name if pair.test else "",
        test_interval=pair.test.interval if pair.test else None,
    )


def promotion_rates(metric: str, images: int, draws: int) -> dict[str, float]:
    """Share of the draws in which the challenger is promoted, by its true gain."""
    rates = {}
    for gain in GAINS:
        random = np.random.default_rng(images)
        promoted = 0
        for draw in range(draws if gain == 0 else draws // 4):
            compared = compare(PAIRS[metric](random, images, gain), images, draw)
            promoted += _promotes(GateRule(metric), compared, None)
        rates[f"{gain:+.2f}"] = promoted / (draws if gain == 0 else draws // 4)
    return rates


def _promotes(rule: GateRule, champion: ChampionComparison, reference: ChampionComparison | None) -> bool:
    measured = Measured({rule.metric: MetricValue(0.9)})
    verdict = decide_verdict([rule], measured, {rule.metric: Opponents(champion, reference)})
    return verdict.kind is VerdictKind.PROMOTE


def creep(images: int, repeats: int, *, with_reference: bool) -> dict[str, float]:
    """True loss of the champion after a year of challengers that are each a little worse than it.

    Each refresh has new test images; the gate accepts a loss of `CREEP_MARGIN`.
    """
    random = np.random.default_rng(0)
    losses = []
    for _ in range(repeats):
        losses.append(_one_year(random, images, with_reference))
    return {
        "median": float(np.median(losses)),
        "95 %": float(np.quantile(losses, 0.95)),
        "largest": float(max(losses)),
    }


def _one_year(random: np.random.Generator, images: int, with_reference: bool) -> float:
    rule = GateRule("accuracy", margin=-CREEP_MARGIN)
    loss = 0.0
    for seed in range(REFRESHES):
        hardness = random.beta(5.1, 0.9, images)
        # What the three get right: reference, champion, challenger, each by its true loss less often.
        rights = [_right(random, hardness, lost) for lost in (0.0, loss, loss + CREEP_STEP)]
        champion = _compare_right(rights[1], rights[2], seed)
        reference = _compare_right(rights[0], rights[2], seed) if with_reference and loss else None
        if _promotes(rule, champion, reference):
            loss += CREEP_STEP
    return loss


def _right(random: np.random.Generator, hardness: NDArray[np.float64], loss: float) -> NDArray[np.float64]:
    return (random.random(len(hardness)) < hardness * (1 - loss / 0.85)).astype(float)


def _compare_right(before: NDArray[np.float64], after: NDArray[np.float64], seed: int) -> ChampionComparison:
    pair = tuple(
        (lambda weights, right=right: weights @ right / weights.sum(axis=1)) for right in (before, after)
    )
    found = compare_paired(pair[0], pair[1], images=len(before), resamples=200, seed=seed)
    return ChampionComparison("1", found.champion, found.difference, found.low, found.high, len(before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--metric", choices=PAIRS, default="accuracy")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--creep", action="store_true", help="simulate a year of refreshes")
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    if options.creep:
        found = {
            "images": options.images,
            "without the reference": creep(options.images, options.repeats, with_reference=False),
            "with the reference": creep(options.images, options.repeats, with_reference=True),
        }
    else:
        rates = promotion_rates(options.metric, options.images, options.draws)
        found = {"metric": options.metric, "images": options.images, "promoted by true gain": rates}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
