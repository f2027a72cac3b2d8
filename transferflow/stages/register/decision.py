"""From a challenger to its verdict: measure what the gate asks for, and let it decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transferflow.data.snapshot.manifest import read_groups
from transferflow.evaluation.results import MetricValue
from transferflow.registry.base import REFERENCE, ModelRegistry, RegisteredVersion
from transferflow.registry.deciding import decide_verdict
from transferflow.registry.gate import (
    Compared,
    GateRule,
    Measured,
    NotComparable,
    Opponents,
    Verdict,
    VerdictKind,
)
from transferflow.spec.deciding import decide_baselines, registered_model
from transferflow.stages.context import RunContext
from transferflow.stages.evaluate.stage import read_evaluation
from transferflow.stages.register.challenger import Challenger
from transferflow.stages.register.champion import Opponent, compare_metric, measure_opponent
from transferflow.stages.register.footprint import measure_latency, size_in_mb
from transferflow.stages.register.rules import gate_limits, gate_rules, look_note
from transferflow.tasks.build import build_task


@dataclass(frozen=True)
class Decision:
    """A verdict, and what it was reached beside.

    Attributes:
        verdict: What becomes of the challenger.
        champion: Metrics of the champion on the images that both have never seen, by its name; empty where
            none was measured.
    """

    verdict: Verdict
    champion: Mapping[str, Mapping[str, MetricValue]] = field(default_factory=dict)


def decide(
    challenger: Challenger,
    context: RunContext,
    registry: ModelRegistry,
    champion: RegisteredVersion | None,
    folder: Path,
) -> Decision:
    """Compare with the champion, and with the reference where that is another version; then decide.

    Args:
        challenger: What was trained and measured.
        context: Surroundings of the run.
        registry: Where the former versions are.
        champion: The promoted version; `None` when there is none.
        folder: Where masks of former versions go.
    """
    if champion is not None and champion.evaluation_key == challenger.evaluated.key:
        again = Verdict(VerdictKind.PROMOTE, ("it is the champion already",), sets_reference=False)
        return Decision(again)
    rules = gate_rules(challenger.spec)
    opponents: dict[str, Opponents] = {}
    notes: list[str] = []
    shown: Mapping[str, Mapping[str, MetricValue]] = {}
    compares, wants = any(rule.margin is not None for rule in rules), _shows_champion(challenger)
    if champion is not None and (compares or wants):
        first = measure_opponent(challenger, context, registry, champion, folder / "champion")
        shown = _champion_metrics(challenger, first) if wants else {}
        if compares:
            opponents, notes = _compare(challenger, context, registry, champion, first, folder, rules)
    limits = gate_limits(challenger.spec)
    return Decision(decide_verdict(rules, _measure(challenger), opponents, limits, notes), shown)


def _shows_champion(challenger: Challenger) -> bool:
    return "champion" in decide_baselines(challenger.spec)


def _champion_metrics(
    challenger: Challenger, champion: Opponent | NotComparable
) -> dict[str, Mapping[str, MetricValue]]:
    if isinstance(champion, NotComparable):
        return {}
    spec, predictions = challenger.spec, champion.predictions
    name, images = f"champion ({champion.name})", challenger.snapshot.counts["test"]
    if len(champion.kept) < images:
        ids = list(read_groups(challenger.snapshot, "test"))
        predictions = predictions.restrict_to(ids[number] for number in champion.kept)
        name = f"champion ({champion.name}, {len(champion.kept):,} images)"
    task = build_task(spec)
    found = task.evaluate(predictions, resamples=spec.evaluation.bootstrap, seed=spec.training.seed)
    return {name: found.metrics}


def _compare(
    challenger: Challenger,
    context: RunContext,
    registry: ModelRegistry,
    champion: RegisteredVersion,
    first: Opponent | NotComparable,
    folder: Path,
    rules: tuple[GateRule, ...],
) -> tuple[dict[str, Opponents], list[str]]:
    model = registered_model(challenger.spec)
    reference = registry.lookup(model, REFERENCE)
    second = None
    if reference is not None and reference.version != champion.version:
        second = measure_opponent(challenger, context, registry, reference, folder / "reference")
    opponents = {
        rule.metric: Opponents(
            _against(challenger, first, rule), None if second is None else _against(challenger, second, rule)
        )
        for rule in rules
        if rule.margin is not None
    }
    notes = [one.note for one in (first, second) if isinstance(one, Opponent) and one.note]
    looks = [one for one in registry.versions(model) if one.was_compared]
    earlier = sum(one.evaluation_key != challenger.evaluated.key for one in looks)
    return opponents, [*notes, *filter(None, [look_note(challenger.spec, earlier)])]


def _against(challenger: Challenger, opponent: Opponent | NotComparable, rule: GateRule) -> Compared:
    if isinstance(opponent, NotComparable):
        return opponent
    return compare_metric(challenger, opponent, rule)


def _measure(challenger: Challenger) -> Measured:
    spec, trained = challenger.spec, challenger.trained.folder
    evaluation = read_evaluation(challenger.evaluated.folder)
    wants_time = spec.registration.gate.max_latency_ms is not None
    return Measured(
        metrics=evaluation.metrics,
        per_class=evaluation.per_class,
        size_mb=size_in_mb(trained),
        slices=evaluation.slices,
        majority=evaluation.baselines.get("majority", {}),
        latency_ms=measure_latency(spec, challenger.snapshot, trained) if wants_time else None,
    )
