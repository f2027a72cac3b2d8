"""Models for other runtimes: ONNX and torch.export, each held against PyTorch on real images."""

from __future__ import annotations

import json
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
from transferflow.inference.onnx_files import (
    INPUT,
    METADATA,
    require_onnx,
    write_program,
    write_traced,
)
from transferflow.inference.parity import box_differences, value_difference
from transferflow.store import folder_beside
from transferflow.tasks.build import build_task
from transferflow.tasks.bundle import Bundle
from transferflow.tasks.graphs import Graph

Format = Literal["onnx", "torch_export"]
SUFFIXES: Mapping[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: The file.
        outputs: Name and meaning of each output.
        any_batch: Whether it takes any number of images at once.
        shape: Of what it takes, such as `N x 3 x 224 x 224`.
        differences: The largest difference to PyTorch in each output.
        images: Images that they were measured on.
        boxes: Boxes that PyTorch found in them; `None`: it answers with no boxes.
    """

    path: Path
    outputs: tuple[tuple[str, str], ...]
    any_batch: bool
    shape: str
    differences: Mapping[str, float]
    images: int
    boxes: int | None


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
    any_size = bundle.transform.keeps_shape and form == "onnx"
    inputs = _inputs(bundle.transform, images, normalise=normalise, any_size=any_size)
    module = _Normalised(graph.module, bundle.transform) if normalise else graph.module
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(path) as beside:
        file = beside / path.name
        metadata = describe_graph(bundle, graph, INPUT, normalise=normalise, any_size=any_size)
        _write(graph, module.eval(), inputs, file, form, metadata, any_size=any_size)
        differences, boxes = _differences(graph, module, inputs, file, form)
        worst = max(differences.values())
        if not worst <= tolerance:
            raise StoreError(
                "the exported model does not answer as PyTorch does, and is thrown away",
                where=str(path),
                found=f"a difference of {worst:.3g} on {len(images)} images",
                allowed=f"at most {tolerance:g} (--tolerance)",
            )
        file.replace(path)
    shape = metadata["input"]["shape"]
    return Exported(path, graph.outputs, graph.any_batch, shape, differences, len(images), boxes)


def _inputs(
    transform: EvalTransform, images: Sequence[Pixels], *, normalise: bool, any_size: bool
) -> list[Tensor]:
    """What the graph is given: all images, or a window of each, in one batch; or one by one in their sizes.

    Raises:
        PlanError: If the graph is to normalise what is rescaled only afterwards.
    """
    if transform.mode == "rescale":
        if normalise:
            raise PlanError(
                "images that keep their shape are rescaled after the normalisation, outside of the graph",
                where="--normalise",
                allowed="an export without it; its metadata says how images are brought to the graph",
            )
        return [
            transform.batch(torch.from_numpy(np.stack([image])), [(image.shape[0], image.shape[1])])[0]
            for image in images
        ]
    rows, columns = transform.image_size
    alone: Sequence[Pixels] = []
    if transform.mode == "whole":
        alone = _whole(images, transform.tile) if any_size else []
        images = [pad_to_size(image[:rows, :columns], (rows, columns), transform.fill) for image in images]
    batches = [torch.from_numpy(np.stack(part)) for part in (images, *([one] for one in alone))]
    return batches if normalise else [transform.normalize(batch) for batch in batches]


def _whole(images: Sequence[Pixels], tile: int | None) -> list[Pixels]:
    """Images in their own sizes, up to a tile's; and a part of the first, as all may be of one size."""
    found = [image[:tile, :tile] for image in images]
    return [*found, found[0][: 1 + found[0].shape[0] * 2 // 3, : 1 + found[0].shape[1] * 3 // 4]]


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
                    if graph.any_batch and not any_size:
                        write_program(graph, _program(module, inputs[0]), file, metadata)
                    else:
                        write_traced(graph, module, inputs[0], file, metadata, any_size=any_size)
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


def _differences(
    graph: Graph, module: nn.Module, inputs: Sequence[Tensor], file: Path, form: Format
) -> tuple[dict[str, float], int | None]:
    """Largest difference of each output, over batches of one and, where it takes them, of all images.

    And the number of boxes that were there to be compared, where it answers with boxes.
    """
    names = [name for name, _ in graph.outputs]
    run = _runner(file, form, names)
    batches = [image[None] for batch in inputs for image in batch]
    if graph.any_batch:
        batches += [batch for batch in inputs if len(batch) > 1]
    worst, boxes = dict.fromkeys(names, 0.0), 0
    for batch in batches:
        with torch.inference_mode():
            expected = module(batch)
        parts = expected if isinstance(expected, tuple) else (expected,)
        ours, theirs = [part.numpy() for part in parts], run(batch)
        if graph.cut is None:
            found = [value_difference(*pair) for pair in zip(ours, theirs, strict=True)]
        else:
            found = list(box_differences(ours, theirs, graph.cut))
            boxes += len(ours[0])
        worst = {name: max(worst[name], new) for name, new in zip(names, found, strict=True)}
    return worst, None if graph.cut is None else boxes


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
