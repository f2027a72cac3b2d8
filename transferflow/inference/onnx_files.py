"""ONNX files: how a graph is written, and the packages that it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferflow.errors import MissingDependencyError
from transferflow.tasks.graphs import Graph

INPUT = "images"
"""Name of the graph's input."""
METADATA = "transferflow"
"""Name of the metadata in the file: JSON."""
_OPSET = 18


def write_program(
    graph: Graph, program: torch.export.ExportedProgram, file: Path, metadata: Mapping[str, Any]
) -> None:
    """Write what `torch.export` has followed: for images of one size, as many as there are.

    Raises:
        MissingDependencyError: If the packages of the extra `export` are not installed.
    """
    require_onnx()
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    torch.onnx.export(
        program,
        (),
        file,
        input_names=[INPUT],
        output_names=[name for name, _ in graph.outputs],
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    _describe(file, metadata)


def write_traced(
    graph: Graph,
    module: nn.Module,
    inputs: Tensor,
    file: Path,
    metadata: Mapping[str, Any],
    *,
    any_size: bool,
) -> None:
    """Write what `torch.export` can't follow, boxes and images of any size, by the older exporter.

    Args:
        graph: What it answers.
        module: The graph, perhaps with the normalisation before it.
        inputs: An example: float32, B x C x H x W, or uint8, B x H x W x C.
        file: The file.
        metadata: Plain JSON.
        any_size: Whether it takes images of any size.

    Raises:
        MissingDependencyError: If the packages of the extra `export` are not installed.
    """
    require_onnx()
    names = [name for name, _ in graph.outputs]
    rows = 1 if inputs.dtype == torch.uint8 else 2
    free = {0: "batch"} if graph.any_batch else {}
    sides = {rows: "height", rows + 1: "width"} if any_size else {}
    answer = {0: "batch", 2: "height", 3: "width"} if graph.any_batch else {0: "boxes"}
    torch.onnx.export(
        module,
        (inputs if graph.any_batch else inputs[:1],),
        str(file),
        input_names=[INPUT],
        output_names=names,
        dynamic_axes=dict.fromkeys(names, answer) | ({INPUT: free | sides} if free or sides else {}),
        opset_version=_OPSET,
        dynamo=False,
    )
    _describe(file, metadata)


def _describe(file: Path, metadata: Mapping[str, Any]) -> None:
    onnx, _ = require_onnx()
    model = onnx.load(str(file))
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.checker.check_model(model)
    onnx.save(model, str(file))


def require_onnx() -> tuple[Any, Any]:
    """The packages `onnx` and `onnxruntime`.

    Raises:
        MissingDependencyError: If they are not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX needs packages that are not installed", hint="pip install 'transferflow[export]'"
        ) from error
    return onnx, onnxruntime
