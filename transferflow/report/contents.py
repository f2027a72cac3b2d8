"""What a report shows, as plain data: nothing here knows how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transferflow.data.records import SplitName
from transferflow.evaluation.figures import ReportTraits
from transferflow.evaluation.pictures import Picture
from transferflow.evaluation.results import Evaluation, MetricValue
from transferflow.spec.sections.metrics import TaskMetrics
from transferflow.training.job import PhaseProof
from transferflow.training.preflight.contents import Preflight


@dataclass(frozen=True)
class LayerRow:
    """One layer group.

    Attributes:
        group: Its name.
        part: backbone, neck or head.
        parameters: Number of parameters.
        trains: Whether it trains, per phase.
        lr_low: Lowest absolute rate in it; `None` when it never trains.
        lr_high: Highest; differs from `lr_low` under layer-wise decay.
        weight_decay: Of the parameters that decay.
        batch_norm: `eval` or `train` per phase; empty where the group has none.
    """

    group: str
    part: str
    parameters: int
    trains: tuple[bool, ...]
    lr_low: float | None = None
    lr_high: float | None = None
    weight_decay: float | None = None
    batch_norm: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingSummary:
    """How the model came to be.

    Attributes:
        history: One mapping per epoch; names that hold `loss` are drawn as losses, names that start with
            `lr` as rates, `seconds` and `epoch` not at all, all others as metrics.
        metric: Metric that chose the best epoch.
        best_epoch: From 0.
        layers: The layer table.
        phase_starts: First epoch of each phase.
        proofs: The freeze proof.
        stopped_early: Whether patience ran out.
        preflight: What was found on the first batch, before the first epoch; `None` where nobody looked.
        sheet: Address of the sheet of training images, from where the page lies; empty without one.
        as_it_came: Whether nothing was trained.
    """

    history: Sequence[Mapping[str, float]]
    metric: str
    best_epoch: int
    layers: tuple[LayerRow, ...] = ()
    phase_starts: tuple[int, ...] = (0,)
    proofs: tuple[PhaseProof, ...] = ()
    stopped_early: bool = False
    preflight: Preflight | None = None
    sheet: str = ""
    as_it_came: bool = False


@dataclass(frozen=True)
class DataSummary:
    """What the model was trained and measured on.

    Attributes:
        counts: Images per split.
        class_counts: Images or objects of each class, per split.
        quarantined: Number of files left out.
        samples: A few training images as the model's owner would recognise them.
    """

    counts: Mapping[SplitName, int]
    class_counts: Mapping[SplitName, Mapping[str, int]]
    quarantined: int = 0
    samples: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Lineage:
    """Where the numbers come from.

    Attributes:
        spec_text: The spec as YAML.
        fingerprint: Of the snapshot.
        keys: Stage name to key.
        versions: Package name to version.
        command: How to get the same result.
    """

    spec_text: str
    fingerprint: str
    keys: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class VerdictSummary:
    """What the gate decided, and why."""

    decision: Literal["PROMOTE", "HOLD", "REJECT"]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """Everything that one report shows.

    Attributes:
        title: The spec's name.
        task: Its name.
        traits: Which figures are drawn, and what is said of them.
        evaluation: Metrics, per-class table and curves.
        classes: Class names in order.
        main_metric: The metric that decides; its card comes first.
        training: How it was trained.
        data: What it was trained and measured on.
        lineage: Where the numbers come from.
        metrics: The task's metrics, and how they are read.
        positive: The class that sensitivity is about, where there is one, see `guide.positive_class`.
        specificity: The fixed one at which sensitivity is measured; `None` where none is.
        facts: Short facts under the title: backbone, device, time.
        worst: Worst errors, worst first.
        examples: Predictions beside the truth, from all over the test split.
        verdict: The gate's decision, where there is one yet.
        champion: Metrics of the champion by its name, where it was measured beside this model.
        warnings: What a careful colleague would point out.
    """

    title: str
    task: str
    traits: ReportTraits
    evaluation: Evaluation
    classes: tuple[str, ...]
    metrics: TaskMetrics
    main_metric: str
    training: TrainingSummary
    data: DataSummary
    lineage: Lineage
    positive: str | None = None
    specificity: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    worst: tuple[Picture, ...] = ()
    examples: tuple[Picture, ...] = ()
    verdict: VerdictSummary | None = None
    champion: Mapping[str, Mapping[str, MetricValue]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
