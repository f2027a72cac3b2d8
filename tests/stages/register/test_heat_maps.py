"""A heat map beside each error says what it is, also where it is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import build_snapshot
from transferflow.data.snapshot.manifest import read_rows
from transferflow.evaluation.pictures import Panel, Picture
from transferflow.stages.register.heat_maps import add_heat_maps
from transferflow.stages.split_images import eval_transform_of
from transferflow.tasks.build import build_parts
from transferflow.tasks.bundle import save_bundle


@pytest.mark.parametrize(
    ("head", "caption"),
    [
        (1.0, "looked at (Grad-CAM, 2 x 2 cells)"),
        (0.0, "nothing in the picture spoke for it (Grad-CAM, 2 x 2 cells)"),
    ],
)
def test_the_caption_names_the_method(build_spec, tmp_path, head, caption):
    spec = build_spec()
    listing = load_listing(spec.data, spec.task.truth)
    snapshot = build_snapshot(spec.data, spec.task.truth, listing, tmp_path / "snapshot")
    parts = build_parts(spec, snapshot.classes, pretrained=True)
    with torch.no_grad():
        for parameter in parts.model.head.parameters():
            parameter.fill_(head)
    transform = eval_transform_of(spec, parts.preprocessing)
    save_bundle(tmp_path / "bundle", spec, snapshot.classes, transform, parts.model, min_score=None)
    ids = [row.id for row in read_rows(snapshot, "test")]
    worst = [Picture((Panel(np.zeros((36, 36, 3), np.uint8)),), image_id=image) for image in ids[:2]]
    explained = add_heat_maps(worst, tmp_path / "bundle", dict.fromkeys(ids, 0), snapshot)
    assert [[panel.label for panel in picture.panels] for picture in explained] == [["", caption]] * 2
