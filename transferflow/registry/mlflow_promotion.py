"""What a verdict does in MLflow: the version with its tags, and the aliases, in repeatable steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from transferflow.errors import ChampionChangedError
from transferflow.registry.base import (
    CHALLENGER,
    CHAMPION,
    COMPARED_WITH,
    REFERENCE,
    SETS_REFERENCE,
    SETTLED,
    RegisteredVersion,
    RegistryEntry,
)
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_audit import note_event, now
from transferflow.registry.mlflow_run import BUNDLE, forget_unfinished, log_files, log_run, prefixed
from transferflow.registry.mlflow_versions import (
    EVALUATION_KEY,
    aliased,
    ensure_model,
    experiment_of,
    read_version,
    versions_tagged,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register_version(
    client: MlflowClient,
    entry: RegistryEntry,
    verdict: Verdict,
    replacing: RegisteredVersion | None,
    artifacts: str | None,
    place: str,
) -> RegisteredVersion:
    """Make the version of an evaluation, with its verdict, and move the aliases; or bring it up to date.

    A version is made together with its verdict, so that there is never one without. Whoever is killed on
    the way leaves a version that is not settled, which the next run of the same evaluation settles.

    Args:
        client: Of the registry.
        entry: What to register.
        verdict: What was decided about it.
        replacing: The champion that it was compared with; `None` when there was none.
        artifacts: Where the files of a new experiment go; `None` lets the server decide.
        place: What the registry is called beside a training's points.

    Raises:
        ChampionChangedError: If another version was promoted since the comparison; none is made then.
    """
    found = versions_tagged(client, entry.model, EVALUATION_KEY, entry.evaluation_key)
    if verdict.kind is VerdictKind.PROMOTE:
        current = aliased(client, entry.model, CHAMPION)
        if current is not None and (not found or current.version != found[0].version):
            _require(current, replacing)
    against = {COMPARED_WITH: replacing.uri if replacing else ""}
    tags = prefixed({**entry.tags, EVALUATION_KEY: entry.evaluation_key, **_tags_of(verdict), **against})
    version = found[0] if found else _make(client, entry, tags, artifacts, place)
    if found:
        _tag(client, version, tags)
        log_files(client, version.run_id, entry)
    return _settle(client, version, verdict)


def settle_version(client: MlflowClient, version: RegisteredVersion) -> RegisteredVersion:
    """Carry out the verdict of a version that a kill left half made.

    It is held where another version was promoted since its comparison: it was not compared with that one.
    """
    verdict = version.verdict
    current = aliased(client, version.model, CHAMPION)
    found = "" if current is None or current.version == version.version else current.uri
    if verdict.kind is VerdictKind.PROMOTE and found not in ("", version.tags.get(COMPARED_WITH, "")):
        changed = f"{found} was promoted before this version could be: run its spec again to compare them"
        verdict = Verdict(VerdictKind.HOLD, (*verdict.reasons, changed))
        _tag(client, version, prefixed(_tags_of(verdict)))
    return _settle(client, version, verdict)


def _settle(client: MlflowClient, version: RegisteredVersion, verdict: Verdict) -> RegisteredVersion:
    _move_aliases(client, version, verdict)
    _tag(client, version, prefixed({SETTLED: "yes"}))
    return read_version(
        client.get_model_version(version.model, str(version.version)), created=version.created
    )


def promote_by_hand(
    client: MlflowClient, version: RegisteredVersion, reason: str, *, action: str = "promoted"
) -> RegisteredVersion:
    """Move the aliases `champion` and `reference` to a version, and note when, why and in whose place."""
    model, number = version.model, str(version.version)
    former = aliased(client, model, CHAMPION)
    replaced = former.version if former and former.version != version.version else None
    note_event(client, model, action, version=version.version, replaced=replaced, reason=reason)
    client.set_registered_model_alias(model, CHAMPION, number)
    client.set_registered_model_alias(model, REFERENCE, number)
    challenger = aliased(client, model, CHALLENGER)
    if challenger is not None and challenger.version == version.version:
        client.delete_registered_model_alias(model, CHALLENGER)
    return read_version(client.get_model_version(model, number), created=False)


def _tags_of(verdict: Verdict) -> dict[str, str]:
    return {
        "verdict": verdict.kind.value,
        "reasons": "\n".join(verdict.reasons),
        "decided": now(),
        SETS_REFERENCE: "yes" if verdict.sets_reference else "no",
        SETTLED: "",
    }


def _make(
    client: MlflowClient, entry: RegistryEntry, tags: Mapping[str, str], artifacts: str | None, place: str
) -> RegisteredVersion:
    ensure_model(client, entry.model)
    experiment = experiment_of(client, entry.model, artifacts)
    forget_unfinished(client, experiment, entry)
    run_id = log_run(client, experiment, entry, place)
    made = client.create_model_version(
        entry.model,
        f"runs:/{run_id}/{BUNDLE}",
        run_id=run_id,
        tags=dict(tags),
        description=entry.description or None,
    )
    first = versions_tagged(client, entry.model, EVALUATION_KEY, entry.evaluation_key)[0]
    if first.run_id != run_id:  # another machine was faster
        client.delete_model_version(entry.model, str(made.version))
        client.delete_run(run_id)
        return first
    return read_version(made, created=True)


def _move_aliases(client: MlflowClient, version: RegisteredVersion, verdict: Verdict) -> None:
    model, number = version.model, str(version.version)
    if verdict.kind is VerdictKind.PROMOTE:
        _make_champion(client, version, verdict)
    challenger = aliased(client, model, CHALLENGER)
    is_challenger = challenger is not None and challenger.version == version.version
    if verdict.kind is VerdictKind.HOLD and not is_challenger:
        client.set_registered_model_alias(model, CHALLENGER, number)
    if verdict.kind is not VerdictKind.HOLD and is_challenger:
        client.delete_registered_model_alias(model, CHALLENGER)


def _make_champion(client: MlflowClient, version: RegisteredVersion, verdict: Verdict) -> None:
    model, number = version.model, str(version.version)
    former = aliased(client, model, CHAMPION)
    replaced = former.version if former and former.version != version.version else None
    if former is None or replaced:
        reason = "; ".join(verdict.reasons)
        note_event(
            client,
            model,
            "promoted",
            version=version.version,
            replaced=replaced,
            by_hand=False,
            reason=reason,
        )
    client.set_registered_model_alias(model, CHAMPION, number)
    current = aliased(client, model, CHAMPION)
    if current is None or current.version != version.version:
        # Another machine wrote after this one: the last one stays, and this one is compared with it.
        _tag(client, version, prefixed({"verdict": VerdictKind.HOLD.value}))
        _require(current, version)
    if verdict.sets_reference:
        client.set_registered_model_alias(model, REFERENCE, number)
    elif aliased(client, model, REFERENCE) is None:  # of a registry that is older than the alias
        client.set_registered_model_alias(model, REFERENCE, str(replaced) if replaced else number)


def _tag(client: MlflowClient, version: RegisteredVersion, tags: Mapping[str, str]) -> None:
    for name, value in tags.items():
        client.set_model_version_tag(version.model, str(version.version), name, value)


def _require(found: RegisteredVersion | None, expected: RegisteredVersion | None) -> None:
    if (found.version if found else None) != (expected.version if expected else None):
        raise ChampionChangedError(
            "another run was promoted in the meantime",
            found=found.uri if found else "no champion",
            hint="run the spec again: it is compared with the new champion",
        )
