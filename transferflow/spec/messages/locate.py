"""From pydantic's error path to the place in the YAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from transferflow.spec.merging.merge import fitting, slot_of
from transferflow.spec.merging.shape import (
    EitherShape,
    ListShape,
    ScalarShape,
    SectionShape,
    Shape,
    Slot,
    VariantsShape,
)
from transferflow.spec.yaml.tree import Key, ListNode, MapNode, Node, Place


@dataclass(frozen=True)
class Spot:
    """Where a path leads to.

    Attributes:
        path: As in the YAML.
        place: Of the value, or of the nearest thing above it that was written.
        node: The value; None when it was not written.
        slot: What may stand there; None when nothing may, or when the place is free-form.
        parent: The mapping around it.
        owner: What may stand in place of `parent`.
        model: Which section `parent` is, when the path says it.
        key_place: Of the key.
        variants: What the value might have been, when `slot` is one variant of a section.
    """

    path: tuple[Key, ...]
    place: Place
    node: Node | None
    slot: Slot | None
    parent: MapNode | None = None
    owner: Shape | None = None
    model: type[BaseModel] | None = None
    key_place: Place | None = None
    variants: VariantsShape | None = None


def locate(path: Sequence[Key], tree: MapNode, root: Slot, *, tagged: bool = True) -> Spot:
    """Follow a path through the tree, leaving out the union tags that pydantic puts in.

    Args:
        path: `loc` of a pydantic error, or a key path.
        tree: The spec.
        root: What the spec may be.
        tagged: Whether each union on the way has its tag in the path, as pydantic's paths do.
    """
    spot = Spot((), tree.place, tree, root)
    for step in path:
        shape = spot.slot.shape if spot.slot and tagged else None
        if isinstance(shape, EitherShape) and step in shape.members:
            spot = replace(spot, slot=Slot(_member(shape, str(step))))
        elif isinstance(shape, VariantsShape) and step in shape.variants:
            spot = replace(spot, slot=Slot(SectionShape(shape.variants[str(step)])), variants=shape)
        elif step != "[key]":
            inner = _child(spot, step)
            if inner is None:
                break  # a label of pydantic's inside free-form values
            spot = inner
    return spot


def _member(shape: EitherShape, tag: str) -> Shape:
    member = shape.members[tag]
    # Whoever wrote a single value, or a list of one, may well have meant the other form: name both.
    return replace(member, words=shape.words) if isinstance(member, ScalarShape | ListShape) else member


def _child(spot: Spot, step: Key) -> Spot | None:
    node = spot.node
    if node is None:
        return None
    shape = fitting(spot.slot, node)
    slot = slot_of(shape, node, step)
    path = (*spot.path, step)
    owner = spot.variants or shape
    model = shape.model if isinstance(shape, SectionShape) else None
    match node:
        case MapNode(entries=entries) if str(step) in entries:
            entry = entries[str(step)]
            place = entry.key_place if isinstance(entry.node, MapNode) else entry.node.place
            return Spot(path, place, entry.node, slot, node, owner, model, entry.key_place)
        case MapNode() if slot is not None:
            return Spot(path, spot.place, None, slot, node, owner, model)
        case ListNode(items=items) if isinstance(step, int) and step < len(items):
            return Spot(path, items[step].place, items[step], slot)
        case _:
            return None
