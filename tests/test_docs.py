"""Every command that README and docs show is run here, on a small part of the demo images."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IMAGES_PER_CLASS = 40

pytestmark = pytest.mark.slow


def shown_commands(page: Path) -> list[str]:
    """Lines that start with `$ ` in blocks marked `console`."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [
        line[2:].split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line[:2] == "$ "
    ]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "specs", folder / "specs")
    run("transferflow datasets fetch digits-5k data/digits-5k", folder)
    for label in filter(Path.is_dir, (folder / "data" / "digits-5k").iterdir()):
        for image in sorted(label.iterdir())[IMAGES_PER_CLASS:]:
            image.unlink()
    run(
        "transferflow run specs/quickstart.yaml --no-prefect"
        " --set training.epochs=1 --set registration.gate.minimum=0",
        folder,
    )
    return folder


def run(command: str, folder: Path) -> str:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TRANSFERFLOW_HOME": str(folder / ".transferflow"),
    }
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_pages_show_commands():
    assert sum(len(shown_commands(page)) for page in PAGES) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_shown_command_works(page, workspace):
    for command in shown_commands(page):
        if command.startswith(("make ", "git ", "cd ", "pip ")):
            continue  # the gate itself runs these
        run(command, workspace)


def test_the_python_of_the_library_page_works(workspace):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (workspace / "block.py").write_text(block)
        run("python block.py", workspace)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
