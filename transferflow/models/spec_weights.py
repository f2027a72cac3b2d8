"""The weights files that a whole spec needs: the backbone's, or that of a whole published model; CLIP's."""

from __future__ import annotations

from transferflow.models.backbones.weights import locate_weights
from transferflow.models.clip_text import text_files
from transferflow.models.torchvision_start import whole_file, whole_weights
from transferflow.models.weights.files import WeightFile
from transferflow.models.weights.lock import check_weights, for_each_file
from transferflow.models.weights.needed import NeededWeights, missing_among
from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.head import LinearHead, ZeroShotHead
from transferflow.spec.sections.published import starts_whole


def weights_of(spec: ExperimentSpec) -> WeightFile | None:
    """The file that training starts from; `None` for a random start.

    Raises:
        PlanError: If there is no such model.
        WeightsError: If the model has no such weights.
    """
    whole = whole_weights(spec.head, spec.backbone)
    if whole is not None and starts_whole(spec.head, spec.backbone):
        return whole_file(spec.backbone, whole)
    return locate_weights(spec.backbone)


def files_of(spec: ExperimentSpec) -> tuple[WeightFile, ...]:
    """All files that a run of the spec reads: those of `weights_of`, and CLIP's text tower for prompts.

    Raises:
        PlanError: If there is no such model, or it has no text tower.
        WeightsError: If the model has no such weights.
    """
    file = weights_of(spec)
    found = () if file is None else (file,)
    needs_text = isinstance(spec.head, ZeroShotHead) or (
        isinstance(spec.head, LinearHead) and spec.head.init == "text"
    )
    return (*found, *text_files(spec.backbone)) if needs_text else found


def needed_weights(spec: ExperimentSpec) -> NeededWeights:
    """Both of them: see `weights_of` and `files_of`.

    Raises:
        PlanError: If there is no such model.
        WeightsError: If the model has no such weights.
    """
    return NeededWeights(weights_of(spec), files_of(spec))


def missing_spec_weights(spec: ExperimentSpec, *, offline: bool = False) -> tuple[WeightFile, ...]:
    """Files that a run of the spec would have to download first.

    Raises:
        WeightsError: If some are not here and can't be downloaded (offline, a local file, a package); names
            each of them.
    """
    return missing_among(files_of(spec), offline=offline)


def check_spec_weights(spec: ExperimentSpec) -> None:
    """Hold what is on this machine against the hashes of spec, publisher and lock file; downloads nothing.

    Raises:
        WeightsError: If a file is another one, or the lock file has no entry for it; with every problem.
    """
    for_each_file(files_of(spec), check_weights)
