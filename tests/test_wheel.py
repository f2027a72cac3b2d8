"""The wheel, installed beside a user's own `pipelines/` package."""

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow

# Imports every module, where only what the metadata of the wheel asks for can be found, extras left out.
_IMPORT_ALL = """
import importlib.util, pkgutil, sys
from importlib.metadata import distribution, packages_distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

def add(name, extra):
    if (name, extra) in wanted:
        return
    wanted.add((name, extra))
    for line in distribution(name).requires or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            for further in ("", *need.extras):
                add(canonicalize_name(need.name), further)

class Only:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        owners = {canonicalize_name(owner) for owner in owned.get(name, ())}
        return self.finder.find_spec(name, path, target) if not owners or owners & asked_for else None

wanted = set()
add("transferflow", "")
owned, asked_for = packages_distributions(), {name for name, _ in wanted}
sys.meta_path[:] = map(Only, sys.meta_path)
import transferflow
modules = [found.name for found in pkgutil.walk_packages(transferflow.__path__, "transferflow.")]
for name in modules:
    importlib.import_module(name)
print(transferflow.__file__, len(modules), *map(importlib.util.find_spec, sys.argv[1:]), sep="\\n")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that the wheel was unpacked into, as an installer does it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("transferflow", "pipelines", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_wheel_has_every_package_and_its_data(installed):
    assert not (installed / "pipelines").exists()
    ours = {p.relative_to(ROOT) for p in (ROOT / "transferflow").rglob("*.py")}
    assert {p for p in ours if not (installed / p).exists()} == set()
    assert (installed / "transferflow" / "pipelines" / "flows.py").exists()
    assert (installed / "transferflow" / "py.typed").exists()
    assert list((installed / "transferflow" / "report" / "templates").iterdir())
    assert len(list((installed / "transferflow" / "spec" / "presets").glob("*.yaml"))) == 5
    repository = Path("transferflow") / "cli" / "repository"
    ours, theirs = (
        sorted(file.relative_to(base) for file in (base / repository).rglob("*") if file.is_file())
        for base in (ROOT, installed)
    )
    assert ours == theirs


def test_our_pipelines_are_found_beside_a_foreign_folder_of_that_name(installed, tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise RuntimeError('foreign')")
    code = "import transferflow.pipelines.flows as flows; print(flows.__file__)"
    done = _python(installed, tmp_path, code)
    assert not done.returncode, done.stderr
    assert Path(done.stdout.strip()) == installed / "transferflow" / "pipelines" / "flows.py"


def test_every_module_is_imported_with_the_declared_packages_alone(installed, tmp_path):
    optional = ["pydicom", "skimage"]
    assert all(find_spec(name) for name in optional)
    done = _python(installed, tmp_path, _IMPORT_ALL, *optional)
    assert not done.returncode, done.stderr
    modules = len(list((installed / "transferflow").rglob("*.py"))) - 1
    package = installed / "transferflow" / "__init__.py"
    assert done.stdout.split() == [str(package), str(modules), "None", "None"]


def _python(installed, folder, code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
