"""Where and how the stages run: nothing in here can change a result, so nothing of it is in a key."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from transferflow.machine import machine_faults_named
from transferflow.registry.address import require_no_secret
from transferflow.registry.mlflow_keeping import MlflowKeeping
from transferflow.registry.mlflow_registry import MlflowRegistry
from transferflow.stages.places import refresh_record
from transferflow.stages.progress import is_watched
from transferflow.store import ArtifactStore, default_home
from transferflow.training.distributed.nodes import Owner


@dataclass(frozen=True)
class RunContext:
    """Surroundings of a run.

    Attributes:
        home: Home folder of the artifact store.
        tracking_uri: MLflow tracking URI; `None` lets `MLFLOW_TRACKING_URI`, or a local file store, decide.
        interactive: Whether a person watches: progress bars instead of log lines.
        wait: Whether to wait for another process that makes the same artifact, and reuse it.
        verify: Whether to hash every file of the data set, instead of going by size and time.
        apart: Whether training on one device, too, has a process of its own, which is started again when it
            crashes.
        owner: This process's side of the meeting, where it owns a run of several nodes.
    """

    home: Path = field(default_factory=default_home)
    tracking_uri: str | None = None
    interactive: bool = False
    wait: bool = True
    verify: bool = False
    apart: bool = False
    owner: Owner | None = None

    @property
    def store(self) -> ArtifactStore:
        """The artifact store of this home."""
        return ArtifactStore(self.home)

    @property
    def registry(self) -> MlflowRegistry:
        """The registry that the models go to; nothing is opened yet."""
        return MlflowRegistry(self.home, self.tracking_uri)

    @property
    def keeping(self) -> MlflowKeeping:
        """What a person does with the versions in the registry; nothing is opened yet."""
        return MlflowKeeping(self.registry)

    @property
    def decoded_images(self) -> Path:
        """Folder of the decoded images, which all runs share."""
        return self.home / "cache" / "decoded"

    @property
    def activations(self) -> Path:
        """Folder of what frozen parts of models have computed, which all runs share."""
        return self.home / "cache" / "activations"

    @property
    def known_models(self) -> Path:
        """Folder of what plans have found out of models, which all runs share."""
        return self.home / "cache" / "models"

    @property
    def precisions(self) -> Path:
        """Folder of what trials of precisions have measured, which all runs share."""
        return self.home / "cache" / "precisions"

    def points(self, train_key: str) -> Path:
        """Folder of what a training tells those who watch it, until it is registered."""
        return self.home / "tracking" / "train" / train_key

    @property
    def event_files(self) -> Path:
        """Folder of TensorBoard's event files: a folder per spec, and in it one per training."""
        return self.home / "tensorboard"

    @property
    def reports(self) -> Path:
        """Folder of each spec's latest report and figures."""
        return self.home / "reports"

    def refresh_record(self, name: str) -> Path:
        """File of what refreshing remembers of a spec."""
        return refresh_record(self.home, name)

    def refresh_records(self) -> list[Path]:
        """Files of what refreshing remembers of every spec."""
        return sorted((self.home / "refresh").glob("*.json"))

    @property
    def server(self) -> Path:
        """Folder of the Prefect server that runs without a configured one start."""
        return self.home / "prefect"


def build_context(
    home: Path | None,
    tracking_uri: str | None = None,
    offline: bool = False,
    wait: bool = True,
    verify: bool = False,
) -> RunContext:
    """Surroundings of a run, from what a command or a deployment says of them.

    Args:
        home: Home folder of the artifact store; left out: the default one.
        tracking_uri: MLflow tracking URI; left out: what the environment says.
        offline: Never download weights, in this whole process.
        wait: Whether to wait for another process that makes the same artifact.
        verify: Whether to hash every file of the data set.

    Raises:
        MachineError: If the home folder is a file, or would lie below one, or may not be looked into.
        PlanError: If the address holds a password, which whoever keeps what was said would keep too.
    """
    require_no_secret(tracking_uri)
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub and by our own downloads alike
    folder = home.absolute() if home else default_home()
    _require_folder(folder)
    return RunContext(folder, tracking_uri, interactive=is_watched(), wait=wait, verify=verify)


def _require_folder(folder: Path) -> None:
    with machine_faults_named(folder):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        (folder / "artifacts").exists()  # raises where this user may not look
