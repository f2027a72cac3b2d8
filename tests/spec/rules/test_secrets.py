from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.errors import Problem
from transferflow.spec.load import check_document, read_document

ProblemsOf = Callable[..., tuple[Problem, ...]]
SECRET = "hunter2hunter2"
CHECKPOINT = "name: a\ntask: {kind: classification}\ndata: {format: image_folder, root: x}\nbackbone:\n"


@pytest.mark.parametrize(
    "address", ["https://me:{}@host/a.pth", "s3://key:{}@bucket/a.pth", "https://host/a.pth?token={}"]
)
def test_an_address_with_a_password_is_refused_and_not_shown(problems_of: ProblemsOf, address: str) -> None:
    weights = address.format(SECRET)
    text = f"{CHECKPOINT}  {{source: checkpoint, name: resnet18, weights: '{weights}', sha256: {'0' * 64}}}\n"
    (problem,) = problems_of(text)
    assert problem.where.endswith("backbone.weights")
    assert "netrc" in problem.what
    assert SECRET not in str(problem)


def test_a_password_is_found_wherever_it_stands(problems_of: ProblemsOf, good: str) -> None:
    for line in (
        f"data: {{format: image_folder, root: 'https://me:{SECRET}@host'}}",
        f"data: {{format: image_folder, root: x, classes: [a, 'ftp://me:{SECRET}@host']}}",
        f"training: {{class_weights: {{'a://me:{SECRET}@host': 2.0}}}}",
    ):
        key = line.partition(":")[0]
        start = good.replace("data:\n  format: image_folder\n  root: data/birds\n", "")
        (problem,) = problems_of(f"{start if key == 'data' else good}{line}\n")
        assert f": {key}." in problem.where
        assert SECRET not in str(problem)


def test_a_password_on_the_command_line_is_refused_too(write: Callable[..., Path], good: str) -> None:
    path = write(good)
    _, problems = check_document(read_document(path, (f"data.root=https://me:{SECRET}@host/x",)))
    assert [problem.where for problem in problems] == ["--set data.root=https://***@host/x"]
