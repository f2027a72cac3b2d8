"""Models for other runtimes: ONNX and torch.export, each held against PyTorch on real images."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferflow.data.files.geometry import Pixels, pad_to_size
from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.errors import MissingDependencyError, PlanError, StoreError, root_reason
from transferflow.inference.export_notes import describe_graph
from transferflow.store import folder_beside
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle
from transferflow.tasks.graphs import Graph

Format = Literal["onnx", "torch_export"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
METADATA = "transferflow"
"""Name of the metadata in the file: JSON."""
INPUT = "images"
_OPSET = 18


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: The file.
        outputs: Name and meaning of each output.
        any_batch: Whether it takes any number of images at once.
        differences: The largest difference to PyTorch in each output.
        images: Images that they were measured on.
    """

    path: Path
    outputs: tuple[tuple[str, str], ...]
    any_batch: bool
    differences: Mapping[str, float]
    images: int


class _Normalised(nn.Module):
    """The graph with the normalisation before it: uint8, B x H x W x C."""

    def __init__(self, inner: nn.Module, transform: EvalTransform) -> None:
        super().__init__()
        self.inner = inner  # a module named `graph` would hide the exporter's own
        self._transform = transform

    def forward(self, images: Tensor) -> object:
        return self.inner(self._transform.normalize(images))


def export_bundle(
    bundle: Bundle,
    images: Sequence[Pixels],
    path: Path,
    form: Format,
    *,
    normalise: bool = False,
    tolerance: float = 1e-3,
) -> Exported:
    """Write the model in another form, and hold that against PyTorch before anybody sees it.

    Args:
        bundle: The model, on a CPU.
        images: Real images as `EvalTransform.fit` leaves them, uint8, H x W x C each.
        path: The file; replaced in one step if it exists.
        form: `onnx` or `torch_export`.
        normalise: Put the normalisation into the graph, so that it takes uint8, N x H x W x C.
        tolerance: Largest difference of any output that is still accepted.

    Raises:
        PlanError: If the model has no such form.
        StoreError: If the outputs differ by more than the tolerance.
        MissingDependencyError: If the packages of the extra `export` are not installed.
    """
    graph = build_task(bundle.spec).build_graph(bundle.model)
    inputs = _inputs(bundle.transform, images, normalise=normalise)
    module = _Normalised(graph.module, bundle.transform) if normalise else graph.module
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(path) as beside:
        file = beside / path.name
        metadata = describe_graph(bundle, graph, INPUT, normalise=normalise)
        any_size = bundle.transform.mode == "rescale"
        _write(graph, module.eval(), inputs, file, form, metadata, any_size=any_size)
        differences = _differences(graph, module, inputs, file, form)
        worst = max(differences.values())
        if not worst <= tolerance:
            raise StoreError(
                "the exported model does not answer as PyTorch does, and is thrown away",
                where=str(path),
                found=f"a difference of {worst:.3g} on {len(images)} images",
                allowed=f"at most {tolerance:g} (--tolerance)",
            )
        file.replace(path)
    return Exported(path, graph.outputs, graph.any_batch, differences, len(images))


def _inputs(transform: EvalTransform, images: Sequence[Pixels], *, normalise: bool) -> list[Tensor]:
    """What the graph is given: all images, or a window of each, in one batch; or one by one in their sizes.

    Raises:
        PlanError: If the graph is to normalise what is rescaled only afterwards.
    """
    if transform.mode == "whole":
        rows, columns = transform.image_size
        images = [pad_to_size(image[:rows, :columns], (rows, columns), transform.fill) for image in images]
    if transform.mode != "rescale":
        batch = torch.from_numpy(np.stack(images))
        return [batch if normalise else transform.normalize(batch)]
    if normalise:
        raise PlanError(
            "images that keep their shape are rescaled after the normalisation, outside of the graph",
            where="--normalise",
            allowed="an export without it; its metadata says how images are brought to the graph",
        )
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    return [
        transform.batch(torch.from_numpy(np.stack([image])), [size])[0]
        for image, size in zip(images, sizes, strict=True)
    ]


def _write(
    graph: Graph,
    module: nn.Module,
    inputs: Sequence[Tensor],
    file: Path,
    form: Format,
    metadata: Mapping[str, Any],
    *,
    any_size: bool,
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about code of libraries
            match form:
                case "onnx":
                    _write_onnx(graph, module, inputs[0], file, metadata, any_size=any_size)
                case "torch_export":
                    _write_program(graph, module, inputs[0], file, metadata)
                case _:
                    assert_never(form)
    except (PlanError, MissingDependencyError):
        raise
    except Exception as error:  # exporters raise anything
        raise PlanError(
            f"the model can't be exported as {form}", where=str(file.name), found=root_reason(error)[:500]
        ) from error


def _program(module: nn.Module, inputs: Tensor) -> torch.export.ExportedProgram:
    """The model as `torch.export` sees it, for any number of images."""
    example = inputs[:2] if len(inputs) > 1 else torch.cat([inputs, inputs])
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=shapes)


def _write_program(
    graph: Graph, module: nn.Module, inputs: Tensor, file: Path, metadata: Mapping[str, Any]
) -> None:
    if not graph.any_batch:
        raise PlanError(
            "torch.export can't follow a detector, whose number of boxes depends on what is in the image",
            where="--format",
            found="torch_export",
            allowed="onnx",
        )
    torch.export.save(_program(module, inputs), file, extra_files={METADATA: json.dumps(metadata)})


def _write_onnx(
    graph: Graph,
    module: nn.Module,
    inputs: Tensor,
    file: Path,
    metadata: Mapping[str, Any],
    *,
    any_size: bool,
) -> None:
    onnx, _ = require_onnx()
    names = [name for name, _ in graph.outputs]
    if graph.any_batch:
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        torch.onnx.export(
            _program(module, inputs),
            (),
            file,
            input_names=[INPUT],
            output_names=names,
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    else:
        # What torch.export can't follow, the older exporter traces with torchvision's own operators.
        of_any_size = {INPUT: {2: "height", 3: "width"}} if any_size else {}
        torch.onnx.export(
            module,
            (inputs[:1],),
            str(file),
            input_names=[INPUT],
            output_names=names,
            dynamic_axes={name: {0: "boxes"} for name in names} | of_any_size,
            opset_version=_OPSET,
            dynamo=False,
        )
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


def _differences(
    graph: Graph, module: nn.Module, inputs: Sequence[Tensor], file: Path, form: Format
) -> dict[str, float]:
    """Largest difference of each output, over batches of one and, where it takes them, of all images."""
    run = _runner(file, form, [name for name, _ in graph.outputs])
    batches = [image[None] for batch in inputs for image in batch]
    if graph.any_batch:
        batches += [batch for batch in inputs if len(batch) > 1]
    worst = dict.fromkeys((name for name, _ in graph.outputs), 0.0)
    for batch in batches:
        with torch.inference_mode():
            expected = module(batch)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for (name, _), ours, theirs in zip(graph.outputs, expected, run(batch), strict=True):
            worst[name] = max(worst[name], _difference(ours.numpy(), theirs))
    return worst


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours.astype(np.float64) - theirs).max()) if ours.size else 0.0


def _runner(file: Path, form: Format, names: Sequence[str]) -> Callable[[Tensor], Sequence[NDArray[Any]]]:
    match form:
        case "onnx":
            _, onnxruntime = require_onnx()
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            return lambda batch: session.run(names, {INPUT: batch.numpy()})
        case "torch_export":
            program = torch.export.load(file).module()

            def run(batch: Tensor) -> list[NDArray[Any]]:
                with torch.inference_mode():
                    found = program(batch)
                return [part.numpy() for part in (found if isinstance(found, tuple) else (found,))]

            return run
        case _:
            assert_never(form)
