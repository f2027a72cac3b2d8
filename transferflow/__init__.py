"""transferflow: commit a spec, get a trained, measured, explained and promoted vision model.

`import transferflow as tf` costs nothing: each name is loaded when it is first used. docs/library.md shows
them all.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferflow.errors import TransferflowError
    from transferflow.inference.model import Model
    from transferflow.library import RunResult, load_model, plan, run
    from transferflow.spec.experiment import ExperimentSpec
    from transferflow.spec.load import load_spec
    from transferflow.tasks.answers import (
        BoxPrediction,
        LabelPrediction,
        MaskPrediction,
        NumberPrediction,
        Prediction,
    )

__version__ = "0.1.0"
__all__ = [
    "BoxPrediction",
    "ExperimentSpec",
    "LabelPrediction",
    "MaskPrediction",
    "Model",
    "NumberPrediction",
    "Prediction",
    "RunResult",
    "TransferflowError",
    "load_model",
    "load_spec",
    "plan",
    "run",
]

_HOMES = {
    "BoxPrediction": "tasks.answers",
    "ExperimentSpec": "spec.experiment",
    "LabelPrediction": "tasks.answers",
    "MaskPrediction": "tasks.answers",
    "Model": "inference.model",
    "NumberPrediction": "tasks.answers",
    "Prediction": "tasks.answers",
    "RunResult": "library",
    "TransferflowError": "errors",
    "load_model": "library",
    "load_spec": "spec.load",
    "plan": "library",
    "run": "library",
}
"""The module of each name, loaded when it is first asked for (PEP 562)."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
