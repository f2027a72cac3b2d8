"""The model registry on MLflow: sqlite and a local folder by default, any tracking URI by setting."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from transferflow.errors import RegistryError
from transferflow.limits import MAX_SUGGESTED
from transferflow.registry.base import CHAMPION, OWN, RegisteredVersion, RegistryEntry, StageTag
from transferflow.registry.gate import Verdict
from transferflow.registry.mlflow_bundles import (
    downloaded_bundle,
    is_whole,
    local_bundle,
    mend_bundle,
    reading_bundle,
    run_of,
)
from transferflow.registry.mlflow_client import CHECK_SERVER, answered, build_client
from transferflow.registry.mlflow_promotion import promote_by_hand, register_version
from transferflow.registry.mlflow_versions import (
    all_versions,
    look_up,
    references_of,
    registered_model,
    versions_tagged,
)
from transferflow.registry.names import check_alias, check_model
from transferflow.registry.own_database import DATABASE, is_ready, make_ready, require_whole
from transferflow.registry.own_reading import look_up_own, reads_well
from transferflow.spec.wording import did_you_mean
from transferflow.store import default_home, digest
from transferflow.store.file_locks import file_lock
from transferflow.store.locks import KeyLock
from transferflow.tasks.bundle_files import read_description
from transferflow.text import BLANK, without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCK_SECONDS = 600
_SHOWN = 20
_OWN_HINT = (
    "run the command again; a database that stays damaged can be moved away: finished trainings are reused, "
    "and `transferflow run SPEC` registers them again"
)


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
        own = f"sqlite:///{(self._folder / DATABASE).as_posix()}"
        self._uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or own
        self._is_own = self._uri == own

    @property
    def location(self) -> str:
        """Where it is, without any password; for people."""
        return without_secrets(self._uri).replace(f"{BLANK}@", "")  # who asks is no part of where it is

    @property
    def identity(self) -> str:
        """What tells it from other registries; that of a home is the same wherever the home lies."""
        return OWN if self._is_own else self.location

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
        check_model(model)
        check_alias(alias_or_version)
        if self.is_empty:
            return None
        if self._is_own and is_ready(self._folder):
            with suppress(sqlite3.Error):  # then MLflow is asked, and says what is wrong
                return look_up_own(self._folder, model, alias_or_version)
        with self.session() as client:
            return look_up(client, model, alias_or_version)

    def versions(self, model: str) -> list[RegisteredVersion]:
        """Every version of a model, the newest first; none when there is no such model.

        Raises:
            RegistryError: If the registry does not answer.
        """
        check_model(model)
        if self.is_empty:
            return []
        with self.session() as client:
            return all_versions(client, model)

    def tagged(self, model: str, tag: StageTag, key: str) -> RegisteredVersion | None:
        """The oldest version that came from this stage, or `None` when there is none.

        Raises:
            RegistryError: If the registry does not answer.
        """
        check_model(model)
        if self.is_empty:
            return None
        with self.session() as client:
            return next(iter(versions_tagged(client, model, tag, key)), None)

    def bundle(self, version: RegisteredVersion) -> Path:
        """Local folder with the version's bundle; downloaded when the registry keeps it elsewhere.

        A damaged one is mended where that can be done.

        Raises:
            RegistryError: If the bundle is gone, damaged, or not one of transferflow's.
        """
        with self.session() as client:
            run_id = run_of(client, version, self.location)
            folder = local_bundle(client, run_id)
            if folder is None:
                with self.writing():
                    folder = downloaded_bundle(
                        client, run_id, version, self.location, self._folder / "downloads"
                    )
        if self._is_own and not is_whole(folder):
            with self.session(), self.writing():
                mend_bundle(folder, version, self._folder.parent)
        with reading_bundle(version, self.location):
            read_description(folder)
        return folder

    def check(self) -> None:
        """See that the registry answers; nothing is made.

        Raises:
            RegistryError: If it does not.
        """
        if self.is_empty or (self._is_own and is_ready(self._folder) and reads_well(self._folder)):
            return
        with self.session() as client:
            client.search_registered_models(max_results=1)

    @contextmanager
    def promoting(self, model: str) -> Iterator[None]:
        """Let no other process that shares this home compare or promote a version of the model meanwhile."""
        check_model(model)
        with KeyLock(self._folder.parent, "promotion", model).hold():
            yield

    def promote(self, version: RegisteredVersion, reason: str) -> RegisteredVersion:
        """Make a version champion by hand, whatever its verdict was.

        Raises:
            RegistryError: If the registry refuses or does not answer.
        """
        with self.promoting(version.model), self.session() as client, self.writing():
            return promote_by_hand(client, version, reason)

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
        artifacts = self.artifacts(entry.model)
        with self.session() as client, self.writing():
            return register_version(client, entry, verdict, replacing, artifacts, self.place)

    @property
    def has_server(self) -> bool:
        """Whether a server stands before its database, which lets several write at once."""
        return urlsplit(self._uri).scheme.startswith("http")

    @property
    def place(self) -> str:
        """What it is called in the names of files."""
        return digest(self.identity)[:8]

    def artifacts(self, model: str) -> str | None:
        """Where the files of a model's experiment go; `None`: the server decides."""
        check_model(model)
        # A database alone has no place for files.
        return None if self.has_server else str(self._folder / "artifacts" / model)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever registered: looking must not cost the making of a database."""
        return self._is_own and not (self._folder / DATABASE).exists()

    @cached_property
    def _client(self) -> MlflowClient:
        if self._is_own:
            require_whole(self._folder)
        return build_client(self._uri)

    @contextmanager
    def session(self) -> Iterator[MlflowClient]:
        """A client of the registry, its errors in our own words.

        Raises:
            MachineError: If the disk is full and the like.
            RegistryError: If the registry refuses or does not answer.
        """
        hint, place = (_OWN_HINT, self._folder) if self._is_own else (CHECK_SERVER, None)
        with answered(self._uri, hint, place):
            if self._is_own and not is_ready(self._folder):
                with self.writing():
                    make_ready(self._folder)
            yield self._client

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let no other process that shares this home write meanwhile."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self._folder / "registry.lock", timeout=_LOCK_SECONDS):
            yield

    def _not_found(self, model: str, alias_or_version: str) -> RegistryError:
        names: list[str] = []
        if not self.is_empty:
            with self.session() as client:
                registered = registered_model(client, model)
                if registered is not None:
                    return RegistryError(
                        f"the model {model!r} has no version or alias {alias_or_version!r}",
                        where=self.location,
                        allowed=", ".join(references_of(client, registered)),
                        hint="a version that its gate rejected has no alias: name its number",
                    )
                found = client.search_registered_models(max_results=MAX_SUGGESTED)
                names = sorted(str(known.name) for known in found)
        shown = names if len(names) <= _SHOWN else [*names[:_SHOWN], "…"]
        return RegistryError(
            f"no model {model!r} in the registry",
            where=self.location,
            allowed=", ".join(shown) or "(the registry is empty)",
            hint=did_you_mean(model, names) or "`transferflow run SPEC` registers one",
        )
