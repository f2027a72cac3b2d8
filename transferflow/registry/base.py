"""The interface of a model registry, and what goes in and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from transferflow.evaluation.results import MetricValue
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.training.tracking.spool import Spool

CHAMPION = "champion"
CHALLENGER = "challenger"
REFERENCE = "reference"
"""The last champion that was better than the one before, or promoted by hand: no loss adds up against it."""
OWN = "the home's own"
"""Identity of the registry that every home has."""
SETTLED = "settled"
"""Tag of a version whose aliases were moved as its verdict says: nothing is left to do for it."""
COMPARED_WITH = "compared_with"
"""Tag with the URI of the champion that a version was compared with; empty where there was none."""
SETS_REFERENCE = "sets_reference"
"""Tag: whether the version, once promoted, is what later ones are held against."""
StageTag = Literal["train_key", "evaluation_key", "register_key"]
"""Tags of a version with the key of a stage that it came from."""


@dataclass(frozen=True)
class RegistryEntry:
    """Everything that a registry keeps about one evaluated model.

    Attributes:
        model: Name of the registered model.
        run_name: How the run is called in the registry's pages.
        evaluation_key: Key of the evaluate stage; one version exists per evaluation.
        bundle: Folder with all that is needed to rebuild the model.
        files: Further files to keep with the run (report, metrics, spec), by their own names.
        bundle_files: Further files to keep in the bundle (the model card).
        params: The spec as plain JSON; nested keys are joined with dots.
        metrics: Metrics on the test images, by name.
        history: One mapping per epoch, from the first: losses, metrics, rates.
        tags: Texts to find the version by: stage keys, versions, fingerprint of the test images.
        dataset: Name of the data set.
        dataset_digest: sha256 of the snapshot.
        dataset_source: Where the data set came from.
        description: What a person reads first, in Markdown.
        points: What the training told while it went on, as far as the registry is to have it.
    """

    model: str
    run_name: str
    evaluation_key: str
    bundle: Path
    dataset: str
    dataset_digest: str
    dataset_source: str
    files: Sequence[Path] = ()
    bundle_files: Sequence[Path] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    points: Spool | None = None


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes:
        model: Name of the registered model.
        version: Its number, from 1.
        run_id: The registry's id of the run that made it.
        aliases: Names that point to it, such as `champion`.
        tags: Texts that it was registered with, and the verdict's.
        created: Whether this call made it; `False`: it was there already.
    """

    model: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created: bool = False

    @property
    def evaluation_key(self) -> str:
        """Key of the evaluate stage that it was registered with; empty for a version from elsewhere."""
        return self.tags.get("evaluation_key", "")

    @property
    def is_settled(self) -> bool:
        """Whether its verdict was carried out to the end."""
        return self.tags.get(SETTLED) == "yes"

    @property
    def verdict(self) -> Verdict:
        """The verdict that it was registered with.

        Raises:
            KeyError: If it is a version from elsewhere.
        """
        reasons = tuple(self.tags["reasons"].splitlines())
        sets_reference = self.tags.get(SETS_REFERENCE, "yes") == "yes"
        return Verdict(VerdictKind(self.tags["verdict"]), reasons, sets_reference)

    @property
    def was_compared(self) -> bool:
        """Whether its verdict came from a comparison with a champion."""
        return bool(self.tags.get(COMPARED_WITH))

    @property
    def is_half_made(self) -> bool:
        """Whether a kill came between its verdict and the aliases."""
        return "verdict" in self.tags and not self.is_settled

    @property
    def uri(self) -> str:
        """Its MLflow URI."""
        return f"models:/{self.model}/{self.version}"


@dataclass(frozen=True)
class AuditEvent:
    """Something that was done to the versions of a model.

    Attributes:
        when: Time in UTC.
        action: `promoted`, `rolled back` or `deleted`.
        version: Number of the version.
        replaced: Number of the version whose alias it took; `None` where there was none.
        by: `gate`, or the user.
        reason: Why, in words.
    """

    when: str
    action: str
    version: int
    replaced: int | None
    by: str
    reason: str


class ModelRegistry(Protocol):
    """A store of model versions with the aliases `champion` and `challenger`."""

    @property
    def location(self) -> str:
        """Where it is, without any password; for people."""
        ...

    @property
    def identity(self) -> str:
        """What tells it from other registries; that of a home is the same wherever the home lies."""
        ...

    def champion(self, model: str) -> RegisteredVersion | None:
        """The promoted version, or `None` when there is none (or no such model)."""
        ...

    def find(self, model: str, alias_or_version: str = CHAMPION) -> RegisteredVersion:
        """The version with this alias or number.

        Raises:
            RegistryError: If there is none, or the registry does not answer.
        """
        ...

    def lookup(self, model: str, alias_or_version: str) -> RegisteredVersion | None:
        """The version with this alias or number, or `None` when there is none (or no such model).

        Raises:
            RegistryError: If the registry does not answer.
        """
        ...

    def versions(self, model: str) -> Sequence[RegisteredVersion]:
        """Every version of a model, the newest first; none when there is no such model.

        Raises:
            RegistryError: If the registry does not answer.
        """
        ...

    def tagged(self, model: str, tag: StageTag, key: str) -> RegisteredVersion | None:
        """The oldest version that came from this stage, or `None` when there is none.

        Raises:
            RegistryError: If the registry does not answer.
        """
        ...

    def bundle(self, version: RegisteredVersion) -> Path:
        """Local folder with the version's bundle; downloaded when the registry keeps it elsewhere.

        Raises:
            RegistryError: If the bundle is gone or is not one of transferflow's.
        """
        ...

    def check(self) -> None:
        """See that the registry answers; nothing is made.

        Raises:
            RegistryError: If it does not.
        """
        ...

    def promoting(self, model: str) -> AbstractContextManager[None]:
        """Let no other process that shares this home compare or promote a version of the model meanwhile."""
        ...

    def promote(self, version: RegisteredVersion, reason: str) -> RegisteredVersion:
        """Make a version champion by hand, whatever its verdict was.

        Raises:
            RegistryError: If the registry refuses or does not answer.
        """
        ...

    def register(
        self, entry: RegistryEntry, verdict: Verdict, replacing: RegisteredVersion | None
    ) -> RegisteredVersion:
        """Make the version of an evaluation, with its verdict, and move the aliases; or bring it up to date.

        Args:
            entry: What to register.
            verdict: What was decided about it.
            replacing: The champion that it was compared with; `None` when there was none.

        Raises:
            ChampionChangedError: If another version was promoted since the comparison.
            RegistryError: If the registry refuses or does not answer.
        """
        ...


def parse_reference(text: str) -> tuple[str, str]:
    """Split `name`, `name@alias`, `name/3` or `models:/name@alias` into model and alias or version."""
    plain = parse_model_name(text)
    model, separator, rest = plain.partition("@") if "@" in plain else plain.partition("/")
    return model, rest if separator else CHAMPION


def parse_model_name(text: str) -> str:
    """The name of a registered model, which may stand after `models:/` as in MLflow."""
    return text.removeprefix("models:/")
