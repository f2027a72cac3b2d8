"""What a run requires before it does anything else."""

from __future__ import annotations

from tempfile import TemporaryFile

from transferflow.data.transforms.named import check_transforms
from transferflow.errors import PlanError, Problem
from transferflow.models.weights.files import WeightFile
from transferflow.models.weights.lock import active_lock, check_weights, for_each_file, verified_weights
from transferflow.models.weights.needed import NeededWeights
from transferflow.spec import ExperimentSpec
from transferflow.spec.deciding import keeps_published_head, training_devices
from transferflow.stages.context import RunContext
from transferflow.stages.progress import download_bar, logger
from transferflow.training.tracking.event_files import require_tensorboard

_PROBE_BYTES = 1 << 16
"""Least room that a run needs: its records alone take more."""


def require_home(context: RunContext) -> None:
    """Refuse a run whose results could not be kept, before anything else is done.

    Raises:
        OSError: What the disk says to a file in the home folder.
    """
    context.home.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryFile(dir=context.home) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(context.home)) from error


def require_registry(context: RunContext) -> None:
    """Refuse a run whose model could not be registered in the end, before anything is trained.

    Raises:
        RegistryError: If the registry does not answer.
    """
    context.registry.check()


def require_tracking(spec: ExperimentSpec) -> None:
    """Refuse a run that could not be watched as its spec says.

    Raises:
        MissingDependencyError: If it asks for event files, and TensorBoard is not installed.
    """
    if spec.tracking.tensorboard:
        require_tensorboard()


def require_weights(spec: ExperimentSpec, context: RunContext) -> None:
    """Bring a first run's weights before the data is prepared; hold those of any run against the lock file.

    A spec that was trained before may need no weights at all: its train stage looks for itself.

    Raises:
        WeightsError: If files can't be had (offline, a local file, a package, no such address), are not those
            that spec and lock file name, or the model has no such weights.
        PlanError: If there is no such model.
    """
    if context.store.last_inputs("train", spec.name) is None:
        _fetch(spec, context)
    elif active_lock() is not None:
        from transferflow.models.spec_weights import check_spec_weights  # loads torch

        check_spec_weights(spec)


def require_right_weights(needed: NeededWeights) -> None:
    """Refuse files on this machine that are not those that the spec and the lock file name.

    Raises:
        WeightsError: With every problem.
    """
    for_each_file(needed.files, check_weights)


def _fetch(spec: ExperimentSpec, context: RunContext) -> None:
    from transferflow.models.spec_weights import files_of, missing_spec_weights  # loads torch

    missing = missing_spec_weights(spec)

    def fetch(file: WeightFile) -> None:
        if file in missing:
            logger.info("weights: fetching %s", file.address)
        with download_bar(f"{file.name} {file.tag}", context.interactive) as progress:
            verified_weights(file, progress=progress)

    for_each_file(files_of(spec), fetch)


def require_layers(spec: ExperimentSpec, context: RunContext) -> None:
    """Refuse a first run whose rules do not fit the model's layer groups, before the data is prepared.

    Later runs look when they train: what is reused needs no model.

    Raises:
        PlanError: With every problem.
    """
    if context.store.last_inputs("train", spec.name) is not None or keeps_published_head(spec):
        return  # what is published and stays as it is is built for the classes of the data
    from transferflow.stages.train.training_plan import compile_training_plan  # loads torch
    from transferflow.tasks.build import build_parts

    classes = ("one", "another")  # no layer group depends on them
    parts = build_parts(spec, classes, pretrained=False, device="meta")
    compile_training_plan(spec, parts)


def require_possible_devices(spec: ExperimentSpec) -> None:
    """Refuse a training on devices that this machine has not.

    Raises:
        PlanError: If it has them not.
    """
    if training_devices(spec) > 1 or spec.training.device not in ("auto", "cpu"):
        from transferflow.stages.train.spread import require_devices  # loads torch

        require_devices(spec)


def require_transforms(spec: ExperimentSpec) -> None:
    """Refuse transforms that albumentations has not, or wrong arguments of theirs.

    Raises:
        PlanError: With every problem.
    """
    found = check_transforms(spec.augmentation, spec.data.channels, spec.task.truth.moving)
    if found:
        raise PlanError.from_problems(
            [Problem(message, ".".join(("augmentation", *path))) for path, message in found]
        )
