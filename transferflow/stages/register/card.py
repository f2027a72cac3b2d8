"""The model card of a challenger, from its report's data and what its bundle and weights say."""

from __future__ import annotations

from pathlib import Path

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.models.spec_weights import weights_of
from transferflow.report.contents import ReportData
from transferflow.report.model_card import CardFacts, model_card
from transferflow.spec.deciding import registered_model
from transferflow.stages.artifacts import CARD
from transferflow.stages.register.challenger import Challenger
from transferflow.store import write_atomic
from transferflow.tasks.bundle_files import read_description


def write_card(challenger: Challenger, data: ReportData, folder: Path) -> None:
    """Write the card into `folder`."""
    spec = challenger.spec
    weights = weights_of(spec)
    transform = EvalTransform.from_json(read_description(challenger.trained.folder)["eval_transform"])
    facts = CardFacts(
        model=registered_model(spec),
        pipeline_tag=spec.task.traits.pipeline_tag,
        backbone=f"{spec.backbone.name} ({spec.backbone.source})",
        weights=str(spec.backbone.weights),
        licence=weights.licence if weights else "",
        seen=transform.in_words,
        channels=transform.channels,
        class_metrics=spec.task.metrics.per_class,
    )
    write_atomic(folder / CARD, model_card(data, facts))
