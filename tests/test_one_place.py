"""Decisions that are taken in one place: what would take them again stands nowhere else."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = {
    # What reads images by itself takes whatever formats it knows.
    "Image.open(": {"transferflow/data/files/images.py"},
    "cv2.imdecode(": {"transferflow/data/files/decode.py"},
    "imread(": {"transferflow/demo/nuclei.py"},
    "TiffFile(": {"transferflow/data/files/tiff.py"},
    "dcmread(": {"transferflow/data/files/dicom_pixels.py"},
    "csv.writer(": {"transferflow/text.py"},
    "cpu_count(": {"transferflow/cpus.py"},
    # Modules of the user's folder are none of ours (`-P`); Prefect finds flows there.
    'sys.executable, "-m"': {"pipelines/poll.py", "pipelines/worker.py"},
    "stderr.isatty(": {"transferflow/stages/progress.py"},
    # The registry of a home mends a damaged bundle from the store of that home.
    "ArtifactStore(": {"transferflow/stages/context.py", "transferflow/registry/mlflow_bundles.py"},
    "MlflowRegistry(": {"transferflow/stages/context.py"},
    "context.home /": set(),
    "hashlib.file_digest(": {"transferflow/store/files.py"},
    "_BatchNorm)": {"transferflow/models/layers.py"},
    "DeepLabV3_ResNet50_Weights": {"transferflow/models/backbones/torchvision_weights.py"},
    '"vit_b_16"': {
        "transferflow/models/backbones/torchvision_geometry.py",
        "transferflow/spec/sections/backbone.py",
    },
}


@pytest.mark.parametrize("text", PLACES)
def test_it_is_decided_in_one_place(text):
    files = [file for folder in ("transferflow", "pipelines") for file in (ROOT / folder).rglob("*.py")]
    found = {file.relative_to(ROOT).as_posix() for file in files if text in flat(file.read_text("utf-8"))}
    assert found == PLACES[text]


def flat(code):
    """The code on one line, however it was wrapped."""
    return re.sub(r"\s+", " ", re.sub(r"([(\[{])\s+", r"\1", code))


@pytest.mark.parametrize(
    "code", ['[\n    sys.executable,\n    "-m",\n    name]', '[sys.executable, "-m", name]']
)
def test_a_list_over_several_lines_is_seen(code):
    assert 'sys.executable, "-m"' in flat(code)
