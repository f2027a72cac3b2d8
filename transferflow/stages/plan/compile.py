"""From spec to plan: which stages are reused, what trains at which rate, which defaults were taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, assert_never

from transferflow.data.checks.findings import refuse_errors
from transferflow.data.checks.labels import check_listed
from transferflow.data.listing import load_listing
from transferflow.data.records import SPLITS, DatasetSnapshot, Listing
from transferflow.data.snapshot.build import load_snapshot
from transferflow.data.split import assign_splits
from transferflow.models.weights.needed import NeededWeights
from transferflow.spec import ExperimentSpec
from transferflow.stages.context import RunContext
from transferflow.stages.former import complete_prepare_inputs, plain_inputs
from transferflow.stages.keys import (
    changed_inputs,
    evaluate_inputs,
    register_inputs,
)
from transferflow.stages.names import require_known_classes
from transferflow.stages.outcome import STAGES, StageName
from transferflow.stages.plan.caching import PhaseCache, plan_caches
from transferflow.stages.plan.known_models import model_facts
from transferflow.stages.plan.last_training import LastTraining, load_last_training
from transferflow.stages.plan.requirements import (
    require_possible_devices,
    require_right_weights,
    require_transforms,
)
from transferflow.stages.plan.warnings import collect_warnings
from transferflow.stages.slices import read_slices, require_known_slices
from transferflow.stages.train.key import complete_train_inputs
from transferflow.stages.train.known_precisions import known_choice
from transferflow.stages.train.layers import TrainingPlan
from transferflow.store import ArtifactStore, digest
from transferflow.training.precision.decide import Choice


@dataclass(frozen=True)
class StagePlan:
    """One stage of the plan.

    Attributes:
        stage: Which stage.
        key: Its key; `None` while it depends on a stage that has not run.
        reused: Whether its artifact is in the store.
        changed: Which inputs differ from the spec's last finished run, in words.
        first: Whether the spec has never finished this stage.
    """

    stage: StageName
    key: str | None
    reused: bool
    changed: tuple[str, ...]
    first: bool


@dataclass(frozen=True)
class Plan:
    """What a run of the spec would do.

    Attributes:
        spec: The spec.
        stages: prepare, train, evaluate, register.
        will_train: Whether the training is not in the store yet.
        classes: Class names in order.
        images: Images per split.
        exact: Whether `images` comes from a snapshot; otherwise files were listed and not opened.
        left_out: Files that prepare put into quarantine; 0 where it has not run.
        training: Freeze state and rates per layer group.
        caches: What each phase computes once; nothing where training is reused.
        last: What the spec's last training took.
        precision: What `training.precision: auto` comes to on this CPU by a trial, if there was one.
        resolved: Every default that was taken, and what `auto` came to, by key path.
        warnings: What a careful colleague would point out.
    """

    spec: ExperimentSpec
    stages: tuple[StagePlan, ...]
    will_train: bool
    classes: tuple[str, ...]
    images: Mapping[str, int]
    exact: bool
    left_out: int
    training: TrainingPlan
    caches: tuple[PhaseCache, ...]
    last: LastTraining
    precision: Choice | None
    resolved: Mapping[str, Any]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "name": self.spec.name,
            "stages": [
                {"stage": s.stage, "key": s.key, "reused": s.reused, "changed": list(s.changed)}
                for s in self.stages
            ],
            "classes": list(self.classes),
            "images": dict(self.images),
            "images_exact": self.exact,
            "left_out": self.left_out,
            "epoch_seconds": self.last.epoch_seconds,
            "micro_batch": self.last.micro_batch,
            "precision": None if self.precision is None else asdict(self.precision),
            "layers": [asdict(row) for row in self.training.rows],
            "phases": [
                {"first_epoch": p.first_epoch, "frozen": sorted(p.frozen), "lr_scale": p.lr_scale}
                for p in self.training.freeze.phases
            ],
            "activation_cache": [asdict(cache) for cache in self.caches],
            "resolved": dict(self.resolved),
            "warnings": list(self.warnings),
        }


def compile_plan(spec: ExperimentSpec, context: RunContext) -> Plan:
    """Resolve the spec against the data, the model and the store; trains nothing, downloads nothing.

    Raises:
        PlanError: If a rule names a layer group that the model has not, a transform is unknown, or the like.
        DataError: If the data set can't be listed.
        WeightsError: If weights on this machine are not those that the spec and the lock file name.
    """
    require_transforms(spec)
    listing = load_listing(spec.data, spec.task.truth)
    prepared = complete_prepare_inputs(spec, context.store, listing).inputs
    artifact = context.store.find("prepare", digest(prepared))
    snapshot = load_snapshot(artifact.path) if artifact else None
    classes = snapshot.classes if snapshot else listing.classes
    require_known_classes(spec, classes)
    require_known_slices(spec, listing)
    refuse_errors([*listing.findings, *check_listed(spec.data, spec.task.truth, listing)])
    facts = model_facts(spec, classes, context.known_models)
    require_right_weights(facts.weights)
    stages = _stages(spec, context, prepared, snapshot, facts.weights)
    images: Mapping[str, int] = (
        {split: snapshot.counts[split] for split in SPLITS} if snapshot else _expected_counts(listing, spec)
    )
    will_train = not all(stage.reused for stage in stages if stage.stage == "train")
    if will_train:
        require_possible_devices(spec)
    return Plan(
        spec=spec,
        stages=stages,
        will_train=will_train,
        classes=classes,
        images=images,
        exact=snapshot is not None,
        left_out=snapshot.quarantined if snapshot else 0,
        training=facts.training,
        caches=plan_caches(spec, facts, images) if will_train else (),
        last=load_last_training(context.store, spec.name),
        precision=known_choice(spec, context, images["train"], images["val"]),
        resolved=facts.resolved,
        warnings=collect_warnings(spec, facts, images, will_train),
    )


def _expected_counts(listing: Listing, spec: ExperimentSpec) -> dict[str, int]:
    counts = Counter(assign_splits(listing.records, spec.data.split).values())
    return {split: counts.get(split, 0) for split in SPLITS}


def _stages(
    spec: ExperimentSpec,
    context: RunContext,
    prepared: Mapping[str, Any],
    snapshot: DatasetSnapshot | None,
    needed: NeededWeights,
) -> tuple[StagePlan, ...]:
    """The stages in their order, each keyed with the key of the one before it."""
    first = _stage(context.store, spec, STAGES[0], prepared)
    if snapshot is None:
        return (first, *(StagePlan(stage, None, False, (), False) for stage in STAGES[1:]))
    stages, before = [first], digest(prepared)
    for stage in STAGES[1:]:
        inputs = _inputs(stage, spec, context, snapshot, prepared, needed, before)
        stages.append(_stage(context.store, spec, stage, inputs))
        before = digest(inputs)
    return tuple(stages)


def _inputs(
    stage: StageName,
    spec: ExperimentSpec,
    context: RunContext,
    snapshot: DatasetSnapshot,
    prepared: Mapping[str, Any],
    needed: NeededWeights,
    before: str,
) -> Mapping[str, Any]:
    match stage:
        case "prepare":
            return prepared
        case "train":
            return complete_train_inputs(spec, context, snapshot, needed).inputs
        case "evaluate":
            return evaluate_inputs(spec, snapshot, before, read_slices(spec, snapshot))
        case "register":
            return register_inputs(spec, before, context.registry.identity)
        case _:
            assert_never(stage)


def _stage(
    store: ArtifactStore, spec: ExperimentSpec, stage: StageName, inputs: Mapping[str, Any]
) -> StagePlan:
    key = digest(inputs)
    last = store.last_inputs(stage, spec.name)
    return StagePlan(
        stage,
        key,
        store.holds(stage, key),
        tuple(changed_inputs(plain_inputs(last), inputs)) if last else (),
        last is None,
    )
