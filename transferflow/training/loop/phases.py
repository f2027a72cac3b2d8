"""The freeze proof of a training under way: digests are taken once at each border of two phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from transferflow.logs import get_logger
from transferflow.training.job import FreezePhase, FreezeSchedule, TrainJob
from transferflow.training.loop.wording import describe_next_phase
from transferflow.training.proof import close_phase, count_left_out, require_same_model, tensor_digests
from transferflow.training.state import LoopState

logger = get_logger("training")


def begin_phase(job: TrainJob, state: LoopState, phase: FreezePhase, known: Mapping[str, str]) -> LoopState:
    """Note what the frozen part is, unless the end of the phase before has done so.

    Args:
        job: The training.
        state: How far it is.
        phase: The phase that begins.
        known: Digests that were taken already.
    """
    if state.frozen_before:
        return state
    return replace(state, frozen_before=_digests(job, phase, known))


def end_phase(job: TrainJob, state: LoopState, phases: FreezeSchedule, *, ends: bool) -> LoopState:
    """Where a phase ends, prove that the frozen part has kept every bit, and note it for the next phase.

    Args:
        job: The training.
        state: How far it is: an epoch has just been finished.
        phases: As they came so far.
        ends: Whether it was the last epoch.

    Raises:
        TrainingError: If a frozen tensor has changed, or other devices have trained another model.
    """
    phase, following = phases.at(state.epochs - 1), phases.at(state.epochs)
    if following == phase and not ends:
        return state
    mode = job.freeze.batch_norm
    left_out = count_left_out(job.model, job.groups, phase.frozen, mode)
    after = _digests(job, phase, {})
    proof = close_phase(phase, state.epochs - 1, state.frozen_before, after, left_out)
    require_same_model(job.ranks, job.model, proof)
    before = {} if ends else _digests(job, following, after)
    if not ends:
        logger.info("%s", describe_next_phase(job.freeze, phases, following))
    return replace(state, proofs=(*state.proofs, proof), frozen_before=before)


def _digests(job: TrainJob, phase: FreezePhase, known: Mapping[str, str]) -> dict[str, str]:
    return tensor_digests(job.model, job.groups, phase.frozen, job.freeze.batch_norm, known)
