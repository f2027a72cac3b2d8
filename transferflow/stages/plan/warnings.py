"""What a careful colleague would point out about a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from transferflow.models.weights.needed import missing_among
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import trains_nothing
from transferflow.spec.sections.freeze import FreezeNone
from transferflow.stages.plan.facts import ModelFacts
from transferflow.text import counted

SMALL_DATA = 2000


def collect_warnings(
    spec: ExperimentSpec, facts: ModelFacts, images: Mapping[str, int], will_train: bool
) -> tuple[str, ...]:
    """All warnings: of the images, of the model, of what is not on this machine.

    Args:
        spec: The spec.
        facts: Of its model.
        images: Images per split.
        will_train: Whether anything is to be trained.

    Raises:
        WeightsError: If weights are missing that no download brings.
    """
    missing = missing_among(facts.weights.files) if will_train else ()
    fetched = (f"weights will be downloaded: {file.address}" for file in missing)
    return (*_few_images(spec, images), *facts.warnings, *fetched)


def _few_images(spec: ExperimentSpec, images: Mapping[str, int]) -> Iterator[str]:
    for split in ("val", "test"):
        if 0 < images.get(split, 0) < 30:
            yield f"only {counted(images[split], f'{split} image')}: the metrics will have wide intervals"
    train = images.get("train", 0)
    fine_tunes = spec.task.traits.small_data_freezes and isinstance(spec.freeze, FreezeNone)
    fine_tunes = fine_tunes and not trains_nothing(spec)
    rules = (spec.optimizer.backbone_lr_scale, spec.optimizer.layer_decay, spec.optimizer.layer_lr or None)
    if fine_tunes and train < SMALL_DATA and all(rule is None for rule in rules):
        yield (
            f"{train} training images for full fine-tuning at one rate: for small data the guide "
            "suggests `freeze: {policy: backbone}` or lower rates for the early layers"
        )
