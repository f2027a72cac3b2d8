"""Groups and copies on both sides of a split, and what counts as another label."""

import pyarrow as pa
import pytest

from transferflow.data.checks.inspected import Inspected
from transferflow.data.checks.leaks import check_leaks
from transferflow.data.records import Record


def kinds(records, hashes, splits):
    facts = pa.table({"sha256": hashes, "phash": pa.nulls(len(hashes), pa.binary())})
    found = Inspected(records, facts, splits=splits)
    return [finding.kind for finding in check_leaks(found, "ignore")]


def record(name, *labels, group=None, split=None):
    return Record(name, name, labels, group=group, split=split)


@pytest.mark.parametrize(
    ("labels", "conflict"), [(("b", "a"), False), (("a", "b"), False), (("a",), True), (("a", "c"), True)]
)
def test_the_order_of_labels_is_no_conflict(labels, conflict):
    records = [record("1.png", "a", "b"), record("2.png", *labels)]
    assert ("conflicting_labels" in kinds(records, ["x", "x"], ["train", "train"])) is conflict


def test_copies_and_groups_leak_across_splits_alone():
    pair = [record("1.png", "a", group="g"), record("2.png", "a", group="g")]
    assert "group_leak" not in kinds(pair, ["x", "y"], ["train", "train"])
    assert kinds(pair, ["x", "y"], ["train", "test"]).count("group_leak") == 1
    copies = [record("1.png", "a"), record("2.png", "a")]
    assert "copy_leak" not in kinds(copies, ["x", "x"], ["val", "val"])
    assert "copy_leak" in kinds(copies, ["x", "x"], ["train", "test"])
    assert kinds(copies, ["x", "y"], ["train", "test"]) == []


@pytest.mark.parametrize(("first", "second", "moved"), [("train", "test", True), ("train", "train", False)])
def test_a_copy_that_was_declared_elsewhere_has_moved(first, second, moved):
    pair = [record("1.png", "a", split=first), record("2.png", "a", split=second)]
    assert ("copy_moved" in kinds(pair, ["x", "x"], ["train", "train"])) is moved
