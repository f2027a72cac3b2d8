"""The wheel, installed beside a user's own `pipelines/` package."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


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


def test_our_pipelines_are_found_beside_a_foreign_folder_of_that_name(installed, tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise RuntimeError('foreign')")
    code = "import transferflow.pipelines.flows as flows; print(flows.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == installed / "transferflow" / "pipelines" / "flows.py"
