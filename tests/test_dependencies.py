"""What the code imports is what pyproject.toml declares."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
OURS = {"transferflow", "pipelines"}
DISTRIBUTIONS = {
    name: {canonicalize_name(d) for d in found} for name, found in packages_distributions().items()
}


def _names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(r).name) for r in requirements}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = _names(PROJECT["dependencies"])
OPTIONAL = {
    name: _names(found)
    for name, found in PROJECT["optional-dependencies"].items()
    if name not in ("dev", "demo")
}
MODULES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))


def _imported(tree: ast.AST) -> Iterator[str]:
    """The top-level modules that statements below `tree` import, in functions too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield module.split(".")[0]


def _third_party(tree: ast.AST) -> set[str]:
    return set(_imported(tree)) - OURS - sys.stdlib_module_names


def _guarded(tree: ast.AST, extra: str) -> set[str]:
    """The modules whose absence is turned into an error that names `extra`."""
    return {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        for handler in node.handlers
        if isinstance(handler.type, ast.Name) and handler.type.id == "ImportError"
        if f"pip install 'transferflow[{extra}]'"
        in ast.unparse(handler).replace('"', "'").replace("\\'", "'")
        for statement in node.body
        for name in _third_party(statement)
    }


def _undeclared(tree: ast.AST) -> set[str]:
    allowed = {name for name in _third_party(tree) if DISTRIBUTIONS.get(name, set()) & DECLARED}
    for extra, distributions in OPTIONAL.items():
        allowed |= {name for name in _guarded(tree, extra) if DISTRIBUTIONS[name] & distributions}
    return _third_party(tree) - allowed


def test_every_imported_package_is_declared():
    found = {str(path.relative_to(ROOT)): _undeclared(ast.parse(path.read_text())) for path in MODULES}
    assert {path: names for path, names in found.items() if names} == {}


def test_every_declared_package_is_imported():
    imported = {
        distribution
        for path in MODULES
        for name in _third_party(ast.parse(path.read_text()))
        for distribution in DISTRIBUTIONS[name]
    }
    assert DECLARED - imported == set()


def test_tests_and_benchmarks_import_nothing_undeclared():
    allowed = DECLARED.union(*map(_names, PROJECT["optional-dependencies"].values()))
    lines = (ROOT / "benchmarks" / "requirements.txt").read_text().splitlines()
    allowed |= _names([line for line in lines if not line.startswith("#")])  # of an environment of their own
    own = {path.stem for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}
    found = {
        (str(path.relative_to(ROOT)), name)
        for folder in ("tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for name in _third_party(ast.parse(path.read_text())) - own
        if not DISTRIBUTIONS.get(name, {canonicalize_name(name)}) & allowed
    }
    assert found == set()


GUARDED = """
try:
    import pydicom
except ImportError as error:
    raise MissingDependencyError(hint="pip install 'transferflow[{extra}]'") from error
"""


@pytest.mark.parametrize(
    ("code", "undeclared"),
    [
        ("import torchmetrics", {"torchmetrics"}),
        ("def f():\n    from sklearn.metrics import auc", {"sklearn"}),
        ("import_module('skimage.io')", {"skimage"}),
        ("import cv2, torch.nn\nfrom PIL import Image", set()),
        ("import pydicom", {"pydicom"}),
        (GUARDED.format(extra="clip"), {"pydicom"}),
        (GUARDED.format(extra="dicom"), set()),
    ],
)
def test_the_check_sees_undeclared_imports(code, undeclared):
    assert _undeclared(ast.parse(code)) == undeclared
