"""The train stage on several nodes: one of them owns the run, the others compare and take part.

The nodes share the home, in which rank 0 keeps checkpoints and large arrays for all. What each of them trains
from is worked out on each for itself: the key says whether it is the same.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from transferflow.data.listing import load_listing
from transferflow.data.snapshot.build import load_snapshot
from transferflow.errors import PlanError
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.former import complete_prepare_inputs
from transferflow.stages.keys import changed_inputs
from transferflow.stages.progress import logger
from transferflow.stages.train.assembly import FitInputs
from transferflow.stages.train.key import TrainInputs, complete_train_inputs
from transferflow.stages.train.settings import loop_settings
from transferflow.stages.train.spread import hand_over, plan_launch
from transferflow.store import digest, write_atomic
from transferflow.training.device import computes_bf16, pick_device
from transferflow.training.distributed.launch_nodes import launch_as_joiner, launch_as_owner
from transferflow.training.distributed.nodes import Joiner, Owner
from transferflow.training.loop.build import arithmetic_of

_PROOF = "nodes.txt"
"""In the work folder: who reads there what the owner has said has the same home."""
_SHARED_SECONDS = 10.0
"""A file server may show a new file to another machine only after a while."""


def fit_as_owner(given: FitInputs, owner: Owner, prepare_key: str, made_from: TrainInputs) -> None:
    """Train together with the nodes that join; see `fit`.

    Args:
        given: What to train, and where the result goes.
        owner: This node's side of the meeting.
        prepare_key: Key of the snapshot.
        made_from: Inputs of the training, which the others must have, too.

    Raises:
        PlanError: If the devices can't be had, or a batch has too few images for all.
    """
    spec = given.spec
    plan = plan_launch(spec)
    if spec.training.batch_size < owner.count * plan.devices:
        raise PlanError(
            "a batch has fewer images than there are devices",
            where="training.batch_size",
            found=f"{spec.training.batch_size} images, {owner.count} nodes with {plan.devices} devices each",
        )
    proof = secrets.token_hex(16)
    write_atomic(given.work / _PROOF, proof)
    owner.announce(
        {
            "prepare": prepare_key,
            "train": made_from.inputs,
            "proof": proof,
            "surroundings": _surroundings(spec, owner.count),
        }
    )
    logger.info("train: %d nodes, %d of their devices on this one", owner.count, plan.devices)
    launch_as_owner(plan, hand_over(given), owner)


def join(spec: ExperimentSpec, context: RunContext, joiner: Joiner, count: int) -> bool:
    """Take part in a run that another node owns, until its model is trained.

    Args:
        spec: What this node was told to train.
        context: Surroundings of the run.
        joiner: This node's side of the meeting.
        count: Nodes that this one was told of.

    Returns:
        Whether there was something to train.

    Raises:
        PlanError: If this node was told to train something else, or can't.
        TransferflowError: What has ended the training.
    """
    terms = joiner.wait_for_terms()
    if terms is None:
        return False
    _require_alike(terms["surroundings"], _surroundings(spec, count), "machine or version")
    prepared, inputs = terms["prepare"], terms["train"]
    work = context.store.work_place("train", digest(inputs))  # the owner's, who has made it
    _require_shared_home(work / _PROOF, terms["proof"])
    listing = load_listing(spec.data, spec.task.truth)
    snapshot = context.store.get("prepare", prepared)
    _require_alike(
        snapshot.inputs, complete_prepare_inputs(spec, context.store, listing).inputs, "data or their section"
    )
    loaded = load_snapshot(snapshot.path)
    made_from = complete_train_inputs(spec, context, loaded)
    _require_alike(inputs, made_from.inputs, "spec, weights or version")
    plan = plan_launch(spec)
    logger.info("train: this node takes part with %d of the devices", plan.devices)
    given = FitInputs(spec, context, loaded, made_from.start, work, work)
    launch_as_joiner(plan, hand_over(given), joiner)
    return True


def _surroundings(spec: ExperimentSpec, count: int) -> dict[str, Any]:
    """What is in no key, and must be the same on all nodes all the same."""
    device = pick_device(spec.training.device)
    return {
        "--nnodes": count,
        "transferflow": version("transferflow"),
        "torch": torch.__version__,
        "kind of device": device.type,
        "precision": arithmetic_of(loop_settings(spec), device).precision,
        "computes bf16": spec.training.precision != "auto" or computes_bf16(device),
        "training": {"on_nan": spec.training.on_nan, "activation_cache": _cache(spec)},
    }


def _cache(spec: ExperimentSpec) -> Any:  # noqa: ANN401  plain JSON data
    return spec.model_dump(mode="json")["training"]["activation_cache"]


def _require_alike(theirs: Mapping[str, Any], mine: Mapping[str, Any], what: str) -> None:
    changes = changed_inputs(theirs, mine)
    if changes:
        raise PlanError(
            f"this node was told to train something else than the one that owns the run: another {what}",
            found="there → here: " + "; ".join(changes),
            hint="give the same command with the same spec, data and version on all nodes",
        )


def _require_shared_home(path: Path, proof: str) -> None:
    deadline = time.monotonic() + _SHARED_SECONDS
    while not path.is_file() or path.read_text() != proof:
        if time.monotonic() > deadline:
            raise PlanError(
                "the nodes do not share their home",
                where="--home",
                found=f"{path} is not what the node that owns the run has written",
                hint="put --home on a disk that all nodes mount: checkpoints are kept there for all",
            )
        time.sleep(0.2)
