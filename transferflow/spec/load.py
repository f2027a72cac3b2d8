"""From a YAML file to a checked spec: `extends`, `--set`, and every problem with its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from transferflow.errors import Problem, SpecError, bounded_problems
from transferflow.limits import MAX_BASES
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.merging.merge import drop_nulls, merge
from transferflow.spec.merging.override import read_overrides, read_path
from transferflow.spec.merging.shape import SectionShape, Slot
from transferflow.spec.messages.problems import place_problem, rule_problems, validation_problems
from transferflow.spec.sections.base import Found
from transferflow.spec.wording import did_you_mean
from transferflow.spec.yaml.files import read_file
from transferflow.spec.yaml.reader import read_yaml
from transferflow.spec.yaml.tree import MapNode, Node, ScalarNode, plain, show

PRESET_PREFIX = "preset:"
PRESETS = Path(__file__).parent / "presets"
ROOT = Slot(SectionShape(ExperimentSpec))
FIRST_LINES = "as in `name: pets`, then `task: {kind: classification}`, `data: …` and `backbone: …`"


@dataclass(frozen=True)
class Document:
    """A spec as written, with everything that it extends merged in.

    Attributes:
        tree: What was read; None when nothing could be.
        problems: What the reading found.
        bases: Files that it extends, nearest first, as resolved paths.
        complete: Whether all of them could be read; else what is missing may stand there.
    """

    tree: MapNode | None
    problems: tuple[Problem, ...]
    bases: tuple[Path, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class _File:
    """One file of the chain, its `extends` taken out."""

    tree: MapNode | None
    extends: ScalarNode | None
    problems: tuple[Problem, ...]
    extends_is_wrong: bool = False


@dataclass(frozen=True)
class _Chain:
    """A file and what it extends, child first, as far as it could be read."""

    trees: list[MapNode]
    files: list[Path]
    problems: list[Problem]
    complete: bool


def load_spec(path: Path | str, overrides: Sequence[str] = ()) -> ExperimentSpec:
    """Read, merge and check a spec.

    Args:
        path: The YAML file.
        overrides: `KEY.PATH=VALUE`, laid over the file.

    Raises:
        SpecError: Anything is wrong; it carries every problem, each with file, line, column and key path.
    """
    document = read_document(Path(path), overrides)
    spec, problems = check_document(document)
    if spec is None:
        raise SpecError.from_problems(problems)
    return spec


def read_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """Read a spec and what it extends, without checking it; never raises."""
    changes = read_overrides(overrides)
    chain = _read_chain(path)
    problems = (*chain.problems, *changes.problems)
    tree: Node | None = None
    for layer in [*reversed(chain.trees), *([changes.tree] if changes.tree else [])]:
        tree = layer if tree is None else merge(tree, layer, ROOT)
    if tree is not None:
        tree = drop_nulls(tree, ROOT)
    readable = tree if isinstance(tree, MapNode) else None
    return Document(readable, problems, tuple(chain.files[1:]), chain.complete)


def check_document(
    document: Document, *, is_base: bool = False
) -> tuple[ExperimentSpec | None, tuple[Problem, ...]]:
    """Validate what was read.

    Args:
        document: The merged tree.
        is_base: The file is only there to be extended: what is missing in it is no problem.

    Returns:
        The spec, if nothing is wrong, and every problem.
    """
    if document.tree is None:
        return None, document.problems
    try:
        spec = ExperimentSpec.model_validate(plain(document.tree))
    except ValidationError as error:
        known = {problem.where for problem in document.problems}
        may_miss = is_base or not document.complete
        found = validation_problems(error, document.tree, ROOT, ignore_missing=may_miss)
        problems = document.problems + tuple(problem for problem in found if problem.where not in known)
        return None, bounded_problems(problems)
    return (None if document.problems else spec), document.problems


def place_problems(document: Document, found: Sequence[Found]) -> tuple[Problem, ...]:
    """Give each broken rule that a later check found (`key path`, message) its place in the file."""
    if document.tree is None:
        return ()
    return rule_problems(found, document.tree, ROOT)


def with_places(document: Document, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Problems whose `where` is a key path of the spec get its place in the file; the others stay."""
    tree = document.tree
    if tree is None:
        return tuple(problems)
    return tuple(place_problem(problem, read_path(problem.where), tree, ROOT) for problem in problems)


def preset_names() -> list[str]:
    """Names that `extends: preset:NAME` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _read_chain(path: Path) -> _Chain:
    """Read a file and its bases, child first."""
    trees: list[MapNode] = []
    files: list[Path] = []
    problems: list[Problem] = []
    source, note = str(path), ""
    while True:
        one = _read_one(path, source, note)
        problems += one.problems
        if one.tree is None:
            return _Chain(trees, files, problems, complete=False)
        trees.append(one.tree)
        files.append(_real(path))
        if one.extends is None:
            return _Chain(trees, files, problems, complete=not one.extends_is_wrong)
        target, base, problem = _base_of(path, one.extends)
        if problem is None and _real(target) in files:
            problem = Problem("`extends` goes in a circle", _where(one.extends), found=base)
        elif problem is None and len(files) > MAX_BASES:
            problem = Problem(f"`extends` more than {MAX_BASES} times in a row", _where(one.extends))
        if problem is not None:
            return _Chain(trees, files, [*problems, problem], complete=False)
        path, note, source = target, f" (extended by {source})", base


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _read_one(path: Path, source: str, note: str) -> _File:
    data, problems = read_file(path, f"{source}{note}")
    if problems:
        return _File(None, None, tuple(problems))
    node, problems = read_yaml(data, source, note)
    if node is None:
        return _File(None, None, tuple(problems))
    if not isinstance(node, MapNode):
        top = Problem("a spec is a mapping of keys to values", str(node.place), show(node), hint=FIRST_LINES)
        return _File(None, None, (*problems, top))
    entry = node.entries.get("extends")
    tree = replace(node, entries={key: value for key, value in node.entries.items() if key != "extends"})
    if entry is None:
        return _File(tree, None, tuple(problems))
    if isinstance(entry.node, ScalarNode) and isinstance(entry.node.value, str) and entry.node.value:
        return _File(tree, entry.node, tuple(problems))
    allowed = "a path below or beside this file, or preset:" + ", preset:".join(preset_names())
    hint = "of several, the second may stand in the `extends` of the first"
    wrong = Problem("must be one file or preset", _where(entry.node), show(entry.node), allowed, hint)
    return _File(tree, None, (*problems, wrong), extends_is_wrong=True)


def _base_of(path: Path, extends: ScalarNode) -> tuple[Path, str, Problem | None]:
    """Path and name of what is extended, or why it can't be."""
    text = str(extends.value)
    if not text.startswith(PRESET_PREFIX):
        target = Path(os.path.normpath(path.parent / text))
        if _is_file(target):
            return target, str(target), None
        beside = [str(p.relative_to(path.parent)) for p in path.parent.glob("*.yaml")]
        known = [*beside, *(f"{PRESET_PREFIX}{name}" for name in preset_names())]
        is_preset = text in preset_names()
        hint = f"write `extends: {PRESET_PREFIX}{text}`" if is_preset else did_you_mean(text, known)
        hint = hint or "the path is relative to the file that extends"
        missing = Problem("there is no such file to extend", _where(extends), str(target), hint=hint)
        return target, text, missing
    name = text.removeprefix(PRESET_PREFIX)
    if name in preset_names():
        return PRESETS / f"{name}.yaml", text, None
    hint = did_you_mean(name, preset_names())
    unknown = Problem("no such preset", _where(extends), name, ", ".join(preset_names()), hint)
    return path, text, unknown


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _where(node: Node) -> str:
    return f"{node.place}: extends"
