"""The model registry on MLflow: sqlite and a local folder by default, any tracking URI by setting."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from transferflow.errors import ChampionChangedError, RegistryError
from transferflow.registry.base import CHALLENGER, CHAMPION, RegisteredVersion, RegistryEntry
from transferflow.registry.gate import Verdict, VerdictKind
from transferflow.registry.mlflow_client import answered, build_client
from transferflow.registry.mlflow_run import BUNDLE, log_run, prefixed
from transferflow.registry.mlflow_versions import (
    EVALUATION_KEY,
    THERE,
    ensure_model,
    read_version,
    references_of,
    registered_model,
    version_of,
    versions_tagged,
)
from transferflow.spec.wording import did_you_mean
from transferflow.store import default_home, digest, folder_beside
from transferflow.text import BLANK, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_FILE = "model.json"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")
_ALIAS = re.compile(r"[\w-]{1,255}")
_OUR_SOURCE = re.compile(r"runs:/([A-Za-z0-9][\w-]{0,255})/bundle")
_LOCK_SECONDS = 600


class MlflowRegistry:
    """Model versions in MLflow.

    Processes that share a home folder wait for each other. Others are seen after the fact: of two
    versions of one evaluation the older stays, and a champion that changed meanwhile is an error.
    """

    def __init__(self, home: Path | None = None, tracking_uri: str | None = None) -> None:
        """Open nothing yet.

        Args:
            home: Home folder of the artifact store.
            tracking_uri: MLflow tracking URI; `None` lets `MLFLOW_TRACKING_URI`, or else
                `<home>/mlflow`, decide.
        """
        self._folder = (home or default_home()).absolute() / "mlflow"
        self._database = self._folder / "mlflow.db"
        own = f"sqlite:///{self._database.as_posix()}"
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or own
        self._is_own = self._uri == own

    @property
    def location(self) -> str:
        """Where it is, without any password; for people."""
        return without_secrets(self._uri).replace(f"{BLANK}@", "")  # who asks is no part of where it is

    @property
    def identity(self) -> str:
        """What tells it from other registries; that of a home is the same wherever the home lies."""
        return "the home's own" if self._is_own else self.location

    def champion(self, model: str) -> RegisteredVersion | None:
        """The promoted version, or `None` when there is none (or no such model)."""
        return self.lookup(model, CHAMPION)

    def find(self, model: str, alias_or_version: str = CHAMPION) -> RegisteredVersion:
        """The version with this alias or number.

        Raises:
            RegistryError: If there is none, or the registry does not answer.
        """
        found = self.lookup(model, alias_or_version)
        if found is None:
            raise self._not_found(model, alias_or_version)
        return found

    def lookup(self, model: str, alias_or_version: str) -> RegisteredVersion | None:
        """The version with this alias or number, or `None` when there is none (or no such model).

        Raises:
            RegistryError: If the registry does not answer.
        """
        _check_model(model)
        if not _ALIAS.fullmatch(alias_or_version):
            raise RegistryError("not a valid alias or version", found=repr(alias_or_version))
        if self._is_own and not self._database.exists():
            return None  # looking must not cost the making of a database
        with self._session() as client:
            registered = registered_model(client, model)
            if registered is None:
                return None
            number = str(registered.aliases.get(alias_or_version, alias_or_version))
            return version_of(client, model, number) if number.isdecimal() else None

    def trained(self, model: str, train_key: str) -> RegisteredVersion | None:
        """The oldest version that came from this training, or `None` when there is none.

        Raises:
            RegistryError: If the registry does not answer.
        """
        _check_model(model)
        with self._session() as client:
            return next(iter(versions_tagged(client, model, "train_key", train_key)), None)

    def bundle(self, version: RegisteredVersion) -> Path:
        """Local folder with the version's bundle; downloaded when the registry keeps it elsewhere.

        Raises:
            RegistryError: If the bundle is gone or is not one of transferflow's.
        """
        with self._session() as client:
            source = str(client.get_model_version(version.model, str(version.version)).source)
            match = _OUR_SOURCE.fullmatch(source)
            if match is None:
                raise self._no_bundle(version, f"its source is {source!r}")
            root = str(client.get_run(match[1]).info.artifact_uri)
            local = _local_path(root)
            folder = local / BUNDLE if local else self._downloaded(client, version, match[1])
        if not (folder / MODEL_FILE).is_file():
            raise self._no_bundle(version, f"{folder} has no {MODEL_FILE}")
        return folder

    def register(self, entry: RegistryEntry) -> RegisteredVersion:
        """Log a run and make a version of it, unless this evaluation has one already.

        Raises:
            RegistryError: If the registry refuses or does not answer.
        """
        _check_model(entry.model)
        with self._session() as client:
            there = versions_tagged(client, entry.model, EVALUATION_KEY, entry.evaluation_key)
            if there:
                return there[0]
            ensure_model(client, entry.model)
            run_id = log_run(client, self._experiment(client, entry.model), entry)
            made = client.create_model_version(
                entry.model,
                f"runs:/{run_id}/{BUNDLE}",
                run_id=run_id,
                tags=prefixed({**entry.tags, "evaluation_key": entry.evaluation_key}),
                description=entry.description or None,
            )
            first = versions_tagged(client, entry.model, EVALUATION_KEY, entry.evaluation_key)[0]
            if first.run_id != run_id:  # another machine was faster
                client.delete_model_version(entry.model, str(made.version))
                client.delete_run(run_id)
                return first
            client.set_registered_model_alias(entry.model, CHALLENGER, str(made.version))
            return read_version(client.get_model_version(entry.model, str(made.version)), created=True)

    def settle(
        self, version: RegisteredVersion, verdict: Verdict, replacing: RegisteredVersion | None
    ) -> RegisteredVersion:
        """Write the verdict down and move the aliases as it says.

        Args:
            version: The challenger.
            verdict: What was decided about it.
            replacing: The champion that it was compared with; `None` when there was none.

        Raises:
            ChampionChangedError: If another run was promoted since the comparison.
            RegistryError: If the registry refuses or does not answer.
        """
        model, number = version.model, str(version.version)
        with self._session() as client:
            if verdict.kind is VerdictKind.PROMOTE:
                self._promote(client, version, replacing)
            challenger = self._aliased(client, model, CHALLENGER)
            is_challenger = challenger is not None and challenger.version == version.version
            if verdict.kind is VerdictKind.HOLD and not is_challenger:
                client.set_registered_model_alias(model, CHALLENGER, number)
            if verdict.kind is not VerdictKind.HOLD and is_challenger:
                client.delete_registered_model_alias(model, CHALLENGER)
            tags = prefixed({"verdict": verdict.kind.value, "reasons": "\n".join(verdict.reasons)})
            for name, value in tags.items():
                client.set_model_version_tag(model, number, name, value)
            return read_version(client.get_model_version(model, number), created=version.created)

    def _promote(
        self, client: MlflowClient, version: RegisteredVersion, replacing: RegisteredVersion | None
    ) -> None:
        current = self._aliased(client, version.model, CHAMPION)
        if current is not None and current.version == version.version:
            return
        self._check_champion(current, replacing)
        client.set_registered_model_alias(version.model, CHAMPION, str(version.version))
        self._check_champion(self._aliased(client, version.model, CHAMPION), version)

    def _check_champion(self, found: RegisteredVersion | None, expected: RegisteredVersion | None) -> None:
        if (found.version if found else None) != (expected.version if expected else None):
            raise ChampionChangedError(
                "another run was promoted in the meantime",
                where=self.location,
                found=found.uri if found else "no champion",
                hint="run the spec again: it is compared with the new champion",
            )

    @cached_property
    def _client(self) -> MlflowClient:
        return build_client(self._uri)

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        with answered(self._uri):
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "registry.lock", timeout=_LOCK_SECONDS):
                yield self._client

    def _aliased(self, client: MlflowClient, model: str, alias: str) -> RegisteredVersion | None:
        registered = registered_model(client, model)
        number = registered.aliases.get(alias) if registered else None
        return version_of(client, model, str(number)) if number is not None else None

    def _experiment(self, client: MlflowClient, model: str) -> str:
        from mlflow.exceptions import MlflowException

        # A database alone has no place for files; a server decides for itself.
        location = (
            None if urlsplit(self._uri).scheme.startswith("http") else self._folder / "artifacts" / model
        )
        try:
            return str(client.create_experiment(model, str(location) if location else None))
        except MlflowException as error:
            if error.error_code != THERE:
                raise
        experiment = client.get_experiment_by_name(model)
        if experiment is None:
            raise RegistryError(f"the experiment {model!r} was removed just now", where=self.location)
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _downloaded(self, client: MlflowClient, version: RegisteredVersion, run_id: str) -> Path:
        final = self._folder / "downloads" / digest([self.location, version.model, version.version, run_id])
        if final.exists():
            return final / BUNDLE
        with folder_beside(final) as beside:
            client.download_artifacts(run_id, BUNDLE, str(beside))
            root = beside.resolve()
            if not all(path.resolve().is_relative_to(root) for path in beside.rglob("*")):
                raise self._no_bundle(version, "a file that lies outside of its folder")
            beside.rename(final)
        return final / BUNDLE

    def _no_bundle(self, version: RegisteredVersion, found: str) -> RegistryError:
        return RegistryError(
            "this model version has no bundle that transferflow can read",
            where=f"{version.uri} in {self.location}",
            found=found,
            allowed="versions that `transferflow run` registered",
        )

    def _not_found(self, model: str, alias_or_version: str) -> RegistryError:
        with self._session() as client:
            registered = registered_model(client, model)
            if registered is not None:
                return RegistryError(
                    f"the model {model!r} has no version or alias {alias_or_version!r}",
                    where=self.location,
                    allowed=", ".join(references_of(client, registered)),
                    hint="a version that its gate rejected has no alias: name its number",
                )
            names = sorted(str(known.name) for known in client.search_registered_models(max_results=20))
        return RegistryError(
            f"no model {model!r} in the registry",
            where=self.location,
            allowed=", ".join(names) or "(the registry is empty)",
            hint=did_you_mean(model, names) or "`transferflow run SPEC` registers one",
        )


def is_reference(model: str, alias_or_version: str) -> bool:
    """Whether these may name a model's version."""
    return bool(_MODEL_NAME.fullmatch(model) and _ALIAS.fullmatch(alias_or_version))


def _check_model(model: str) -> None:
    if not _MODEL_NAME.fullmatch(model):
        raise RegistryError(
            "not a valid model name", found=repr(model), allowed="letters, digits, space, `.`, `_`, `-`"
        )


def _local_path(uri: str) -> Path | None:
    match urlsplit(uri).scheme:
        case "":
            return Path(uri)
        case "file":
            return Path(url2pathname(urlsplit(uri).path))
        case _:
            return None
