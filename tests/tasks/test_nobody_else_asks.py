"""Tasks know their task, nobody else does: outside of `tasks` and `spec` nothing asks which task it is."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from transferflow.spec.sections.task import TASKS, Task

ROOT = Path(__file__).parents[2]
HOMES = (ROOT / "transferflow" / "tasks", ROOT / "transferflow" / "spec")
VARIANTS = frozenset(variant.__name__ for variant in get_args(get_args(Task)[0]))
MODULES = tuple(f"transferflow.tasks.{kind}" for kind in TASKS)


def questions(source: str) -> Iterator[tuple[int, str]]:
    """Line and wording of every place that asks which task it is."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=module, names=names):
                if (module or "").startswith(MODULES):
                    yield node.lineno, f"imports {module}"
                yield from ((node.lineno, f"imports {n.name}") for n in names if n.name in VARIANTS)
            case ast.Import(names=names):
                yield from ((node.lineno, f"imports {n.name}") for n in names if n.name.startswith(MODULES))
            case ast.Attribute(attr=name) if name in VARIANTS:
                yield node.lineno, f"names {name}"
            case ast.Compare(left=left, comparators=others):
                yield from ((node.lineno, "compares a task") for part in (left, *others) if is_kind(part))
            case ast.Match(subject=subject) if is_kind(subject):
                yield node.lineno, "matches a task"
            case ast.MatchValue(value=ast.Constant(value=str(value))) if value in TASKS:
                yield node.lineno, f"matches {value!r}"
            case ast.Dict(keys=keys):
                yield from ((node.lineno, "looks a task up") for key in keys if key and is_kind(key))


def is_kind(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="kind", value=ast.Name(id="task") | ast.Attribute(attr="task")):
            return True
        case ast.Constant(value=str(value)):
            return value in TASKS
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            return any(is_kind(part) for part in parts)
        case _:
            return False


@pytest.mark.parametrize(
    "source",
    [
        "if spec.task.kind == other: pass",
        "if kind != 'classification': pass",
        "if kind in ('detection', 'segmentation'): pass",
        "match spec.task.kind:\n    case _: pass",
        "match kind:\n    case 'detection': pass",
        "TABLE = {'segmentation': 1}",
        "from transferflow.spec.sections.task import DetectionTask",
        "from transferflow.spec.sections import task\nisinstance(x, task.SegmentationTask)",
        "from transferflow.tasks.detection import read_truths",
        "import transferflow.tasks.segmentation_truth",
    ],
)
def test_each_way_to_ask_is_seen(source):
    assert list(questions(source))


@pytest.mark.parametrize(
    "source", ["print(spec.task.kind)", "entry['segmentation']", "if head.kind == 'x': ..."]
)
def test_a_word_is_no_question(source):
    assert not list(questions(source))


def test_nobody_else_asks_which_task_it_is():
    files = [
        file
        for folder in ("transferflow", "pipelines")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not any(file.is_relative_to(home) for home in HOMES)
    ]
    assert len(files) > 200
    found = [
        f"{file.relative_to(ROOT)}:{line}: {words}"
        for file in files
        for line, words in questions(file.read_text())
    ]
    assert found == []
