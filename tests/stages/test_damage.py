"""Every file of a finished home, damaged: the same command gives the same result, or says what is wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, replace_by_a_folder
from PIL import Image

from transferflow.cli.main import main
from transferflow.store.locks import KeyLock

SPEC = """
name: colours
task: {{kind: classification}}
data: {{format: image_folder, root: {root}, image_size: 32, split: {{train: 0.6, val: 0.2, test: 0.2}}}}
backbone: {{source: timm, name: test_resnet, weights: none}}
augmentation: {{preset: none}}
training: {{epochs: 1, batch_size: 12, workers: 0, device: cpu}}
evaluation: {{bootstrap: 200}}
"""

SURELY_NAMED = ("mlflow.db",)
"""Nobody can make it anew by itself: it is named, with the way out."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, list[str]]:
    """A finished home of a group that shares its files, and the command that made it, to end with a home."""
    folder = tmp_path_factory.mktemp("finished")
    random = np.random.default_rng(0)
    for name, colour in {"red": (200, 40, 40), "green": (40, 200, 40)}.items():
        (folder / "images" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(np.array(colour) + random.integers(-40, 40, (36, 36, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name / f"{number:02}.png")
    spec = folder / "spec.yaml"
    spec.write_text(SPEC.format(root=folder / "images"))
    command = ["run", str(spec), "--no-prefect", "--home"]
    before = os.umask(0o002)
    try:
        for _ in range(2):  # the second one notes what a run that reuses all notes
            assert main([*command, str(folder / "home")]) == 0
    finally:
        os.umask(before)
    return folder / "home", command


@pytest.fixture
def home(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished home."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(finished[0], tmp_path / "home")


def result_of(home: Path, said: str) -> tuple[object, ...]:
    """What must not change: weights, measures, verdict, version."""
    weights = [
        hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(home.glob("artifacts/train/*/weights.safetensors"))
    ]
    measures = [file.read_bytes() for file in sorted(home.glob("artifacts/evaluate/*/metrics.json"))]
    lines = [line for line in said.splitlines() if line.startswith(("accuracy", "verdict", "model", "kept"))]
    return weights, measures, lines


def each_damage(home: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Each file with one of the damages, in turn: so that every kind of file meets several of them."""
    files = sorted(path for path in home.rglob("*") if path.is_file())
    for number, file in enumerate(files):
        yield file.relative_to(home), DAMAGES[number % len(DAMAGES)]


@pytest.mark.slow
def test_a_damaged_file_heals_or_is_named(finished, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (whole, command), home = finished, tmp_path / "home"
    shutil.copytree(whole, home)
    assert main([*command, str(home)]) == 0
    wanted = result_of(home, capsys.readouterr().out)
    for file, damage in each_damage(whole):
        shutil.rmtree(home)
        shutil.copytree(whole, home)
        damage(home / file)
        code, said = main([*command, str(home)]), capsys.readouterr()
        case = f"{damage.__name__} {file}\n{said.err[-2000:]}"
        if code == 0:
            assert result_of(home, said.out) == wanted, case
        else:
            assert code == 1, case
            assert f"error: {home}" in said.err, case
            assert "hint:" in said.err, case
            assert damage is replace_by_a_folder or file.name in SURELY_NAMED, case


def test_the_rest_of_the_group_may_read_and_write(finished) -> None:
    modes = {path: path.stat().st_mode & 0o777 for path in finished[0].rglob("*")}
    wrong = {path: oct(mode) for path, mode in modes.items() if mode != (0o775 if path.is_dir() else 0o664)}
    assert not wrong


def test_a_registry_that_is_not_there_is_found_before_training(
    finished, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    command = [*finished[1], str(tmp_path / "new"), "--tracking-uri", "http://127.0.0.1:9"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "error: http://127.0.0.1:9: the model registry refused or did not answer" in said.err
    assert "prepare" not in said.out
    assert not (tmp_path / "new" / "artifacts").exists()


def test_who_is_told_not_to_wait_says_who_works(home, finished, capsys) -> None:
    trained = next(home.glob("artifacts/train/*"))
    shutil.rmtree(trained)
    with KeyLock(home, "train", trained.name).hold():
        assert main([*finished[1], str(home), "--no-wait"]) == 75
    said = capsys.readouterr().err
    assert f"another process works on train {trained.name[:12]}" in said
    assert f"process {os.getpid()} on " in said


@pytest.mark.parametrize("below", ["", "work", "artifacts/evaluate"])
def test_a_file_in_the_place_of_a_folder_is_named(finished, tmp_path, capsys, below) -> None:
    home = tmp_path / "home"
    file = home / below
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    assert main([*finished[1], str(home)]) == 1
    said = capsys.readouterr().err
    assert str(file) in said
    assert file.read_text() == "mine"
