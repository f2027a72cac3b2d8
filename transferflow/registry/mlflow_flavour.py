"""The file `MLmodel`, which makes a registered bundle one of MLflow's own models."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from platform import python_version

LOADER = "transferflow.serving.pyfunc"
"""Module that loads a bundle for MLflow: a name, since it stands beside the registry."""
COLUMN = "image"
REQUIREMENTS = "requirements.txt"


def write_flavour(folder: Path) -> tuple[Path, Path]:
    """Write `MLmodel` and `requirements.txt` into `folder`.

    Returns:
        Both files; they belong beside `model.json`.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    # Untyped: bytes in Python, base64 in JSON, and one answer per image whatever the task.
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.binary, COLUMN)]))
    described = Model(signature=signature)
    described.add_flavor("python_function", loader_module=LOADER, python_version=python_version())
    described.save(folder / "MLmodel")
    (folder / REQUIREMENTS).write_text(f"transferflow=={version('transferflow')}\n")
    return folder / "MLmodel", folder / REQUIREMENTS
