"""Specs that ask for much: each is refused with a message that ends, in the time that its size says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from transferflow.errors import Problem
from transferflow.limits import MAX_MESSAGE, MAX_NAMES, MAX_OVERRIDES, MAX_PROBLEMS, MAX_SPEC_DEPTH
from transferflow.spec.class_names import plain_name
from transferflow.spec.load import check_document, load_spec, read_document
from transferflow.spec.wording import did_you_mean

Write = Callable[..., Path]
ProblemsOf = Callable[..., tuple[Problem, ...]]
MANY = 20_000


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def names(prefix: str, value: str = "") -> str:
    return ", ".join(f"{prefix}{number}{value}" for number in range(MANY))


def test_tens_of_thousands_of_classes_cost_no_more_than_their_number(write: Write, good: str) -> None:
    """40,000 took 49 s: each was looked for among all others."""
    text = good.replace("root: data/birds", f"root: data/birds\n  classes: [{names('c')}]")
    path = write(text + f"training: {{class_weights: {{{names('c', ': 2.0')}}}}}\n")
    with within(20):
        assert len(load_spec(path).data.classes or ()) == MANY


@pytest.mark.parametrize(
    "more",
    [
        f"training: {{class_weights: {{{names('d', ': 2.0')}}}}}\n",
        "\n".join(f"key{number}: 1" for number in range(MANY)),
        f"training: {{{names('k', ': 1')}}}\n",
        f"freeze: {{policy: layers, layers: [{names('x')}]}}\n"
        f"optimizer: {{layer_lr: {{{names('x', ': 1')}}}}}\n",
        f"evaluation: {{metrics: [{', '.join(['accuracy'] * MANY)}]}}\n",
        f"augmentation: {{transforms: [{', '.join(['{name: Nothing}'] * MANY)}]}}\n",
        f"training: {{epochs: {{{names('k', ': [')}{']' * MANY}}}}}\n",
        f"x: [{', '.join(['!!int 3'] * MANY)}]\n",
    ],
    ids=["weights", "keys", "inner keys", "layers", "metrics", "transforms", "depth", "tags"],
)
def test_a_spec_that_is_wrong_everywhere_says_so_in_a_page(
    problems_of: ProblemsOf, good: str, more: str
) -> None:
    text = good.replace("root: data/birds", "root: data/birds\n  classes: [a, b]")
    with within(20):
        found = problems_of(text + more)
    assert 0 < len(found) <= MAX_PROBLEMS
    assert sum(len(str(problem)) for problem in found) < 100_000


def test_names_that_a_spec_lists_are_bounded(problems_of: ProblemsOf, good: str) -> None:
    listed = ", ".join(f"x{number}" for number in range(MAX_NAMES + 1))
    (problem,) = problems_of(good + f"freeze: {{policy: layers, layers: [{listed}]}}\n")
    assert problem.what == "too many items"
    assert f"1 to {MAX_NAMES}" in problem.allowed
    assert len(problem.hint) <= MAX_MESSAGE


@pytest.mark.parametrize(
    "override",
    [
        ".".join("a" * 100_000) + "=1",
        "training.epochs=1" + "0" * 400,
        "training.epochs=0x1" + "0" * 298,
        "optimizer.lr=0x1" + "0" * 290,
        "optimizer.lr=1e400",
        "optimizer.lr=-1" + "0" * 299,
        "freeze.phases." + "9" * 5_000 + ".epochs=1",
        "augmentation.transforms." + "9" * 400 + "=1",
        "x" * 1_000_000 + "=1",
        "training.epochs=" + "[" * 100_000,
        "data.classes=[" + "a, " * 50_000 + "]",
    ],
    ids=range(11),
)
def test_an_override_that_asks_for_much_is_a_problem(write: Write, good: str, override: str) -> None:
    path = write(good)
    with within(20):
        spec, problems = check_document(read_document(path, (override,)))
    assert spec is None
    assert sum(len(str(problem)) for problem in problems) < 100_000


def test_overrides_are_bounded_in_number_and_depth(write: Write, good: str) -> None:
    path = write(good)
    _, problems = check_document(read_document(path, ["training.epochs=3"] * (MAX_OVERRIDES + 1)))
    assert [problem.where for problem in problems] == ["--set"]
    _, problems = check_document(read_document(path, [".".join("a" * (MAX_SPEC_DEPTH + 1)) + "=1"]))
    assert f"more than {MAX_SPEC_DEPTH} keys" in problems[0].what


def test_a_near_name_is_looked_for_among_a_bounded_number() -> None:
    with within(5):
        assert did_you_mean("x" * 1_000_000, ["lr"]) == ""
        assert did_you_mean("name", (f"name{number}" for number in range(10_000_000)))
    assert did_you_mean("lrr", ["lr"]) == "did you mean `lr`?"


def test_marks_out_of_their_order_take_no_minutes() -> None:
    with within(5):
        plain_name("a" + "\u0301\u0316" * 100_000)
