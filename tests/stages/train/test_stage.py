"""What the train stage says of the epoch it kept."""

import pytest

from transferflow.stages.train.stage import describe_kept

HISTORY = {"metric": "auroc", "best_epoch": 2, "best_value": 0.91239, "epochs": [{}] * 4}
BEST = "epoch 3 of 4, the best by validation auroc 0.9124"
GATE = {"gate": {"metric": "auroc"}}
PATIENCE = {"epochs": 9, "early_stopping": {"patience": 1}}


@pytest.mark.parametrize(
    ("sections", "stopped", "expected"),
    [
        ({}, False, BEST),
        ({"registration": GATE}, False, f"{BEST}, the gate's metric"),
        (
            {"training": PATIENCE},
            True,
            f"{BEST}; stopped early, after 1 epoch that did no better (9 epochs were allowed)",
        ),
        ({"training": PATIENCE}, False, BEST),
    ],
)
def test_the_kept_epoch_is_said(build_spec, sections, stopped, expected):
    assert describe_kept(build_spec(**sections), HISTORY | {"stopped_early": stopped}) == expected


def test_zero_shot_keeps_no_epoch(build_spec):
    spec = build_spec(
        backbone={"source": "timm", "name": "vit_base_patch32_clip_quickgelu_224.openai"},
        head={"kind": "zero_shot"},
        optimizer={},
        training={},
    )
    assert describe_kept(spec, HISTORY).startswith("the weights as they came")
