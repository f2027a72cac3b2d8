"""What an exported model says of itself."""

from __future__ import annotations

from typing import Any

from transferflow.data.transforms.evaluation import EvalTransform
from transferflow.models.decision import decision_of
from transferflow.tasks.bundle import Bundle
from transferflow.tasks.graphs import Graph


def describe_graph(
    bundle: Bundle, graph: Graph, name: str, *, normalise: bool, any_size: bool
) -> dict[str, Any]:
    """What a program needs to know to use the file: classes, preprocessing, inputs and outputs.

    Args:
        bundle: The model.
        graph: Its function.
        name: Of the graph's input.
        normalise: Whether the graph normalises.
        any_size: Whether it takes images of any size.
    """
    transform = bundle.transform
    height, width = transform.image_size
    channels = transform.channels
    batch = "N" if graph.any_batch else "1"
    sides = "height x width" if any_size else f"{height} x {width}"
    layout = f"{sides} x {channels}" if normalise else f"{channels} x {sides}"
    steps = [
        f"decode to 8 bits and {channels} channels, turned as the EXIF data says",
        *_fitting(transform, any_size=any_size),
    ]
    if not normalise:
        steps.append(f"(x / 255 - mean) / std per channel: mean {transform.mean}, std {transform.std}")
    if transform.mode == "rescale":
        steps.append(
            f"resize by the largest factor that brings the shorter side to {height} and the longer one to "
            f"{width} at most, sides rounded down (bilinear, not antialiased)"
        )
    return {
        "name": bundle.spec.name,
        "task": bundle.spec.task.kind,
        "classes": list(bundle.classes),
        "input": {"name": name, "type": "uint8" if normalise else "float32", "shape": f"{batch} x {layout}"},
        "outputs": dict(graph.outputs),
        "min_score": bundle.min_score,
        **_decision(bundle),
        "preprocessing": steps,
        "eval_transform": transform.to_json(),
    }


def _decision(bundle: Bundle) -> dict[str, Any]:
    """What leads probabilities to labels and prediction sets, where the model has something of its own."""
    decision = decision_of(bundle.model)
    if decision is None:
        return {}
    thresholds = dict(zip(bundle.classes, decision.thresholds.tolist(), strict=True))
    reach = float(decision.reach)
    return {"thresholds": thresholds, "conformal_reach": None if reach < 0 else reach}


def _fitting(transform: EvalTransform, *, any_size: bool) -> list[str]:
    window = "{} x {}".format(*transform.resize)
    final = "{} x {}".format(*transform.image_size)
    how = f"({transform.interpolation}, antialiased)"
    fill = tuple(int(value) for value in transform.fill)
    match transform.mode:
        case "crop":
            return [f"resize so that the image covers {window} {how}", f"cut the centre, {final}"]
        case "letterbox":
            pad = f"pad at the bottom and the right with {fill} to {final}"
            return [f"resize so that the image fits into {window} {how}", pad]
        case "stretch":
            return [f"resize to {window}, whatever the sides were {how}"]
        case "rescale":
            return []
        case "whole":
            sides = f"the shorter side {transform.shorter}, the longer one at most {transform.longer}"
            resize = [] if transform.shorter is None else [f"resize with the aspect kept: {sides} {how}"]
            if any_size and transform.tile is None:
                return resize
            parts = f"windows of {final}, smaller ones padded at the bottom and the right with {fill}"
            if any_size:
                parts = f"tiles of {transform.tile} pixels, where a side is longer"
            return [*resize, f"cut into {parts}; the scores of overlapping ones are yours to join"]
