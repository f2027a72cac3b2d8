"""Which test stands beside the bootstrap, and on which images."""

import numpy as np
import pyarrow as pa
import pytest

from transferflow.evaluation.classification.delong import delong_difference
from transferflow.spec.sections.task import ClassificationTask
from transferflow.tasks.base import SplitPredictions
from transferflow.tasks.classification_truth import hot_targets
from transferflow.tasks.paired_tests import delong_test, mcnemar_test

BINARY = ClassificationTask(kind="classification")


@pytest.fixture
def two(snapshot_of, colour_folder, tmp_path):
    """Random probabilities of two models on two classes."""
    for path in [*(colour_folder / "blue").iterdir()]:
        path.unlink()
    (colour_folder / "blue").rmdir()
    snapshot = snapshot_of(
        colour_folder, format="image_folder", split={"train": 0.2, "val": 0.2, "test": 0.6}
    )
    ids = [row.id for row in SplitPredictions(pa.table({"id": []}), snapshot, "test", tmp_path).read_rows()]
    random, found = np.random.default_rng(0), []
    for _ in range(2):
        second = random.random(len(ids)).astype(np.float32)
        column = pa.array(list(np.stack([1 - second, second], axis=1)), pa.list_(pa.float32(), 2))
        table = pa.table({"id": ids, "probabilities": column})
        found.append((SplitPredictions(table, snapshot, "test", tmp_path), second))
    return found


def test_delongs_test_is_of_the_second_class_on_the_images_that_are_kept(two):
    (champion, before), (challenger, after) = two
    kept = np.arange(0, len(before), 2)
    found = delong_test(BINARY, "auroc", champion, challenger, kept, 0.9)
    truth = hot_targets(challenger)[kept, 1]
    expected = delong_difference(before[kept], after[kept], truth, 0.9)
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.interval == pytest.approx((expected.low, expected.high))


def test_other_metrics_and_tasks_have_none(two):
    (champion, _), (challenger, _) = two
    kept = np.arange(4)
    assert delong_test(BINARY, "accuracy", champion, challenger, kept, 0.9) is None
    several = ClassificationTask(kind="classification", multilabel=True)
    assert delong_test(several, "auroc", champion, challenger, kept, 0.9) is None
    assert mcnemar_test("macro_f1", lambda w: w[:, 0], lambda w: w[:, 0], 4) is None
