from __future__ import annotations

import hashlib
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferflow.data.records import Record
from transferflow.data.split import (
    FormerSplits,
    assign_splits,
    cut_splits,
    decide_split,
    hash_position,
    unit_keys,
)
from transferflow.spec.sections.data import Split

SPLIT = Split()


def record(name, group=None, split=None):
    return Record(name, name, group=group, split=split)


def content_of(records):
    return {r.id: hashlib.sha256(r.id.encode()).hexdigest() for r in records}


names = st.lists(st.text(min_size=1, max_size=6), unique=True, min_size=1, max_size=60)


@given(names, st.integers(0, 2**31), st.randoms(use_true_random=False), st.integers(1, 60))
def test_known_images_never_move(all_names, seed, random, cut):
    """Shuffled and grown in any order: the first images stay where they were."""
    split = Split(seed=seed)
    records = [record(name) for name in all_names]
    first = assign_splits(records[:cut], split, content=content_of(records))
    random.shuffle(records)
    grown = assign_splits(records, split, content=content_of(records))
    assert all(grown[name] == place for name, place in first.items())


@given(names, st.integers(0, 5))
def test_renamed_images_never_move(all_names, seed):
    split = Split(seed=seed)
    old = [record(name) for name in all_names]
    new = [record(f"moved/{name}.png") for name in all_names]
    contents = list(content_of(old).values())
    before = assign_splits(old, split, content={r.id: c for r, c in zip(old, contents, strict=True)})
    after = assign_splits(new, split, content={r.id: c for r, c in zip(new, contents, strict=True)})
    assert list(before.values()) == list(after.values())


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("uvwxyz")), max_size=40))
def test_groups_and_copies_share_a_split(pairs):
    records = [record(str(i), group=group) for i, (group, _) in enumerate(pairs)]
    content = {str(i): value for i, (_, value) in enumerate(pairs)}
    assigned = assign_splits(records, SPLIT, content=content)
    by_group, by_content = {}, {}
    for r in records:
        assert by_group.setdefault(r.group, assigned[r.id]) == assigned[r.id]
        assert by_content.setdefault(content[r.id], assigned[r.id]) == assigned[r.id]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.integers(1, 40))
def test_groups_never_move_when_others_are_added(groups, cut):
    records = [record(str(i), group=group) for i, group in enumerate(groups)]
    first = assign_splits(records[:cut], SPLIT, content=content_of(records))
    grown = assign_splits(records[::-1], SPLIT, content=content_of(records))
    assert all(grown[name] == place for name, place in first.items())


def test_the_assignment_is_the_same_on_every_machine():
    records = [record(f"{i}.png") for i in range(12)]
    assigned = assign_splits(records, SPLIT, content=content_of(records))
    assert hash_position("content:abc", 0) == pytest.approx(0.48603577881722, abs=1e-13)
    assert "".join("r" if assigned[r.id] == "train" else assigned[r.id][1] for r in records) == "rrrrrrarrrrr"


def test_shares_and_strata_within_chance():
    records = [record(f"{i}") for i in range(20_000)]
    assigned = assign_splits(records, Split(train=0.7, val=0.2, test=0.1), content=content_of(records))
    for label in range(4):  # any property of the images that the hash does not know
        counts = Counter(assigned[str(i)] for i in range(label, 20_000, 4))
        for name, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
            tolerance = 4 * math.sqrt(share * (1 - share) / 5_000)
            assert counts[name] / 5_000 == pytest.approx(share, abs=tolerance)


def test_the_seed_moves_images():
    records = [record(f"{i}") for i in range(1000)]
    one, two = (assign_splits(records, Split(seed=seed)) for seed in (0, 1))
    assert sum(one[name] != two[name] for name in one) > 200


def test_declared_splits_are_obeyed():
    records = [record(str(i), split=("train", "val", "test")[i % 3]) for i in range(30)]
    assigned = assign_splits(records, SPLIT)
    assert all(assigned[r.id] == r.split for r in records)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"train", "val"}, {"test": "val"}),
        ({"train", "test"}, {"val": "train"}),
        ({"train"}, {}),
        ({"train", "val", "test"}, {}),
        ({"train", "val", None}, {}),
        ({None}, {}),
        ({"val", "test"}, {}),
    ],
)
def test_cut_splits(declared, expected):
    assert cut_splits(declared) == expected


def test_test_is_cut_from_val():
    records = [record(str(i), split="train" if i % 2 else "val") for i in range(2_000)]
    assigned = assign_splits(records, Split(train=0.8, val=0.15, test=0.05), content=content_of(records))
    assert all(assigned[r.id] == "train" for r in records if r.split == "train")
    counts = Counter(assigned[r.id] for r in records if r.split == "val")
    assert counts["test"] / 1000 == pytest.approx(0.25, abs=0.06)
    assert counts["train"] == 0


def test_copies_that_folders_tear_apart_go_to_the_protected_split():
    records = [record("a", split="train"), record("b", split="test"), record("c", split="val")]
    same = {"a": "x", "b": "x", "c": "y"}
    assert assign_splits(records, SPLIT, content=same) == {"a": "test", "b": "test", "c": "val"}


def test_groups_that_columns_tear_apart_are_obeyed():
    records = [record("a", "g", "train"), record("b", "g", "test"), record("c", "h", "val")]
    assert assign_splits(records, SPLIT) == {"a": "train", "b": "test", "c": "val"}


def test_undeclared_members_follow_their_group():
    records = [record("a", "g", "test"), record("b", "g"), record("c", "h", "train"), record("d", "i")]
    assigned = assign_splits(records, SPLIT)
    assert (assigned["a"], assigned["b"], assigned["c"]) == ("test", "test", "train")


def test_former_splits_win_over_the_hash():
    records = [record(str(i)) for i in range(50)] + [record("g1", "g"), record("g2", "g")]
    former = FormerSplits(
        by_group={"g": "val"}, by_content={"sha-of-3": "test"}, by_id={"4": "test", "3": "train"}
    )
    content = {str(i): f"sha-of-{i}" for i in range(50)}
    assigned = assign_splits(records, SPLIT, content=content, former=former)
    assert (assigned["3"], assigned["4"], assigned["g1"], assigned["g2"]) == ("test", "test", "val", "val")


def test_groups_bridged_later_stay_and_the_newcomer_is_protected():
    former = FormerSplits(by_group={"a": "train", "b": "test"})
    records = [record("1", "a"), record("2", "b"), record("3", "c")]
    content = {"1": "x", "2": "x", "3": "x"}
    assigned = assign_splits(records, SPLIT, content=content, former=former)
    assert assigned == {"1": "train", "2": "test", "3": "test"}


def test_unit_keys_prefer_groups_and_the_first_name():
    records = [record("1"), record("2", "b"), record("3", "a"), record("4", "z")]
    keys = unit_keys(records, {"1": "x", "2": "x", "3": "x", "4": "y"})
    assert keys == ["group:a", "group:a", "group:a", "group:z"]


@pytest.mark.parametrize(
    ("position", "allowed", "expected"),
    [(0.0, 7, "train"), (0.79, 7, "train"), (0.85, 7, "val"), (0.95, 7, "test"), (0.6, 6, "test")],
)
def test_decide_split(position, allowed, expected):
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    assert decide_split(allowed, 0, None, position, shares) == expected
