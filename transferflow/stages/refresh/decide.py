"""Whether to train again: pure decisions from what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from transferflow.spec.sections.evaluation import Refresh

Action = Literal["nothing", "wait", "stop", "train"]
_SECONDS = 60


@dataclass(frozen=True)
class DriftFound:
    """How far new images are from those before, in the champion's features.

    Attributes:
        asked: Images that were to be looked at on each side.
        new: New images that were.
        before: Images of the last training that were.
        statistic: MMD², see `evaluation.statistics.discrepancy`.
        p_value: Chance of such a one if nothing had drifted; `None` where it could not be measured.
        model: URI of the champion.
        note: Why it could not be measured.
    """

    asked: int
    new: int = 0
    before: int = 0
    statistic: float = 0.0
    p_value: float | None = None
    model: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.p_value is None:
            return f"drift was not measured: {self.note}"
        return (
            f"drift: MMD² {self.statistic:.4f}, p {self.p_value:.3f}, {self.new:,} new images against "
            f"{self.before:,} of the last training's"
        )


@dataclass(frozen=True)
class DataChange:
    """What a data set holds that the last training has not seen.

    Attributes:
        images: Number of images of the last training's snapshot.
        added: Number of images whose content is new.
        removed: Number of images that are gone.
        relabelled: Number of images whose labels, boxes or mask changed.
        edited: Number of images whose content changed.
        changed: Number of images that any of this is true of.
        new_per_class: Number of added images by class, where images have classes.
        drift: How far the new images are from those before, where the rule asks for it.
    """

    images: int
    added: int = 0
    removed: int = 0
    relabelled: int = 0
    edited: int = 0
    changed: int = 0
    new_per_class: Mapping[str, int] = field(default_factory=dict)
    drift: DriftFound | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DataChange:
        """Rebuild from `to_json`."""
        drift = data.get("drift")  # records of former versions have none
        counts = {name: data[name] for name in cls.__dataclass_fields__ if name != "drift"}
        return cls(**counts, drift=None if drift is None else DriftFound(**drift))

    def __str__(self) -> str:
        counts = ("added", "removed", "relabelled", "edited")
        found = [f"{getattr(self, name):,} {name}" for name in counts if getattr(self, name)]
        return f"{', '.join(found) or 'nothing changed'} (of {self.images:,} images)"


@dataclass(frozen=True)
class RefreshDecision:
    """What to do, and why.

    Attributes:
        action: `nothing`; `wait` until the data has settled; `stop`: a person must look; or `train`.
        reason: One sentence.
    """

    action: Action
    reason: str


@dataclass(frozen=True)
class Arrival:
    """Signs that a data set is still being copied.

    Attributes:
        youngest_seconds: Age of the file or folder that changed last.
        youngest: Its path.
        missing: Files that are named and not there, beyond those that were missing at the last training.
        example: One of them, in words.
    """

    youngest_seconds: float
    youngest: str
    missing: int = 0
    example: str = ""


def decide_arrival(rule: Refresh, arrival: Arrival) -> RefreshDecision | None:
    """Whether to wait for a data set that is still arriving; `None` if it has settled."""
    settle = rule.settle_minutes * _SECONDS
    if arrival.youngest_seconds < settle:
        reason = (
            f"{arrival.youngest} changed {max(0, round(arrival.youngest_seconds))} s ago: the data set may "
            f"be half copied; it counts as settled after {rule.settle_minutes:g} minutes (settle_minutes)"
        )
        return RefreshDecision("wait", reason)
    if arrival.missing:
        reason = f"{arrival.missing:,} named files are not there yet, such as {arrival.example}"
        return RefreshDecision("wait", reason)
    return None


def decide_loss(rule: Refresh, images: int, before: int) -> RefreshDecision | None:
    """Whether so much is gone that nothing should be done with the rest; `None` if not.

    Args:
        rule: The spec's rule.
        images: Of those of the last training, how many are there; at most the number of images there are.
        before: Images of the last training.
    """
    gone = before - images
    if before == 0 or gone <= rule.max_removed * before:
        return None
    reason = (
        f"{gone:,} of {before:,} images are gone, more than the share {rule.max_removed:g} that may go at "
        "once (max_removed): look at the data set; if it is right, "
        "`transferflow refresh SPEC --set deployment.refresh.max_removed=1` trains on it"
    )
    return RefreshDecision("stop", reason)


def decide_refresh(rule: Refresh, change: DataChange | None, days: float | None) -> RefreshDecision:
    """Decide whether to train again.

    Args:
        rule: The spec's rule.
        change: What changed since the last training; `None`: there was none, or its data is not known.
        days: Since the last training; `None`: not known.
    """
    if change is None:
        return RefreshDecision("train", "no training of this spec is known whose data could be compared")
    if not change.changed:
        reason = "no image was added, removed, relabelled or edited since the last training"
        return RefreshDecision("nothing", reason)
    lost = decide_loss(rule, change.images - change.removed, change.images)
    if lost is not None:
        return lost
    trigger = _trigger(rule, change, days)
    seen = _say_drift(rule, change)
    if trigger is not None:
        return RefreshDecision("train", f"{change}: {trigger}{seen}")
    return RefreshDecision("nothing", f"{change}: fewer than the {rule.min_changed:,} of min_changed{seen}")


def _say_drift(rule: Refresh, change: DataChange) -> str:
    """What was seen of drift, in words that go on with a reason; empty where nobody asks."""
    if rule.drift is None or change.drift is None:
        return ""
    most = "" if change.drift.p_value is None else f" (drift.p_value {rule.drift.p_value:g})"
    return f"; {change.drift}{most}"


def decide_drift_is_due(rule: Refresh, change: DataChange) -> bool:
    """Whether drift is asked for and has not been measured as the rule wants it.

    Data that has not changed, or has lost so much that a person must look, is not measured.
    """
    if rule.drift is None or not change.changed:
        return False
    if decide_loss(rule, change.images - change.removed, change.images) is not None:
        return False
    return change.drift is None or change.drift.asked != rule.drift.images


def _trigger(rule: Refresh, change: DataChange, days: float | None) -> str | None:
    if rule.on_relabel and change.relabelled:
        return "labels changed (on_relabel)"
    if change.changed >= rule.min_changed:
        return f"at least the {rule.min_changed:,} of min_changed"
    if rule.min_new_per_class is not None:
        for name, count in sorted(change.new_per_class.items()):
            if count >= rule.min_new_per_class:
                return f"{count:,} new images of {name} (min_new_per_class {rule.min_new_per_class:,})"
    if rule.max_age_days is not None and days is not None and days >= rule.max_age_days:
        return f"the last training is {days:.1f} days old (max_age_days {rule.max_age_days:g})"
    found = change.drift.p_value if change.drift else None
    if rule.drift is not None and found is not None and found <= rule.drift.p_value:
        return "the new images differ from those before"
    return None
