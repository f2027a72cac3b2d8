"""What plans have found out of models, kept in the home: a plan of a model that is known loads no torch.

An entry's name is the digest of all that the facts follow from: the spec, with what it leaves open; the
classes; every line of this package's code; the versions of the libraries that have the models; and where
weights are kept. So nothing in it can be out of date, and whatever is damaged is looked up anew.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import TypeAdapter

from transferflow.spec import ExperimentSpec
from transferflow.spec.sections.backbone import CheckpointBackbone
from transferflow.stages.plan.facts import ModelFacts
from transferflow.store import digest, read_bounded, write_atomic

MAX_BYTES = 1 << 23
"""Of an entry; facts that take more are not kept."""
MAX_ENTRIES = 64
"""The oldest go first."""
_CODE = Path(__file__).resolve().parents[2]
"""This package."""
_LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "albumentations", "numpy", "pydantic")
_PLACES = ("HOME", "USERPROFILE", "TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME")
"""Variables that say where weights are kept."""


def model_facts(spec: ExperimentSpec, classes: Sequence[str], folder: Path) -> ModelFacts:
    """What the spec comes to on its model: as it is known, or else by a look at the model.

    A model of the user's own is always looked at: its file may change.

    Args:
        spec: The spec.
        classes: Class names in order.
        folder: Where facts are kept.

    Raises:
        PlanError: If there is no such model, or a rule names a layer group that it has not, or the like.
        WeightsError: If the model has no such weights.
    """
    entry = folder / f"{facts_key(spec, classes)}.json"
    is_own = isinstance(spec.backbone, CheckpointBackbone)
    known = None if is_own else load_facts(entry)
    if known is not None:
        return known
    from transferflow.stages.plan.look import look_at_model  # loads torch

    text = _FACTS.dump_json(look_at_model(spec, classes))
    if not is_own:
        _keep(entry, text)
    return _FACTS.validate_json(text)  # the same, whether it was known or not


def facts_key(spec: ExperimentSpec, classes: Sequence[str]) -> str:
    """Digest of all that a model's facts follow from."""
    loaded = sys.modules.get("torch.hub")  # a program may have told it another folder
    return digest(
        {
            "spec": spec.model_dump(mode="json"),
            "given": spec.model_dump(mode="json", exclude_unset=True),
            "classes": list(classes),
            "code": _code_digest(_CODE),
            "versions": _versions(),
            "places": {name: os.environ.get(name) for name in _PLACES},
            "folder": None if loaded is None else str(loaded.get_dir()),
        }
    )


def load_facts(entry: Path) -> ModelFacts | None:
    """What an entry holds; `None` where there is none, or it is damaged."""
    try:
        sha256, _, text = read_bounded(entry, MAX_BYTES).partition(b"\n")
        return _FACTS.validate_json(text) if sha256 == _sha256(text) else None
    except (OSError, ValueError):
        return None


def _keep(entry: Path, text: bytes) -> None:
    """Nothing is kept where nothing can be written: a plan needs no room."""
    content = _sha256(text) + b"\n" + text
    if len(content) > MAX_BYTES:
        return
    try:
        write_atomic(entry, content)
        entries = sorted(entry.parent.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        for oldest in entries[:-MAX_ENTRIES]:
            oldest.unlink(missing_ok=True)
    except OSError:
        return


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _code_digest(folder: Path) -> str:
    files = sorted(folder.rglob("*.py"))
    return digest([[str(file.relative_to(folder)), _sha256(file.read_bytes()).decode()] for file in files])


def _versions() -> Mapping[str, str | None]:
    return {"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


_FACTS = TypeAdapter(ModelFacts)
