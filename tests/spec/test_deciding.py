"""Which metric decides, gate and kept epoch alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferflow.spec.deciding import gate_metric, watched_metric
from transferflow.spec.load import load_spec


@pytest.mark.parametrize(
    ("overrides", "gate", "watched"),
    [
        ((), "accuracy", "accuracy"),
        (("registration.gate.metric=auroc",), "auroc", "auroc"),
        (("registration.gate.metric=auroc", "training.early_stopping={}"), "auroc", "auroc"),
        (("training.early_stopping={metric: ece}",), "accuracy", "ece"),
        (
            ("registration.gate.metric=auroc", "training.early_stopping={metric: macro_f1}"),
            "auroc",
            "macro_f1",
        ),
        (("evaluation.metrics=[ece, accuracy]",), "accuracy", "accuracy"),
        (("evaluation.metrics=[auroc]", "registration.gate.metric=auroc"), "auroc", "auroc"),
    ],
)
def test_the_gates_metric_chooses_the_epoch_unless_the_spec_says_otherwise(
    write: Callable[..., Path], good: str, overrides: tuple[str, ...], gate: str, watched: str
) -> None:
    spec = load_spec(write(good), overrides)
    assert (gate_metric(spec), watched_metric(spec)) == (gate, watched)
