"""How a spec is laid over the one that it extends, and `--set` over both.

- Mappings merge key by key; lists and single values replace.
- **A section that changes its variant starts afresh.** When the child names another `kind`, `policy`,
  `format` or `source` (or `transforms` instead of `preset`), and that variant has other keys, nothing of
  the base's section is kept: a weight decay meant for AdamW must not end up in SGD, and keys that the new
  variant does not know must not be in the way. A child that does not name the variant keeps the base's;
  a base that neither names it nor uses a key that only one variant has (`data: {channels: 1}`) goes with
  every variant.
- `null` takes the base's value away, so that the default holds, unless null is a value of its own there
  (`data.cache: null`). In a mapping with free keys (`layer_lr`) it takes the entry away.
- `--set` may point into a list: `freeze.phases.0.epochs=5`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from pydantic import BaseModel

from transferflow.spec.merging.shape import (
    DictShape,
    EitherShape,
    ListShape,
    SectionShape,
    Shape,
    Slot,
    VariantsShape,
    slots,
)
from transferflow.spec.sections.base import ChosenByKey, Form
from transferflow.spec.yaml.tree import Entry, Key, ListNode, MapNode, Node, ScalarNode, is_index


def merge(base: Node, child: Node, slot: Slot | None) -> Node:
    """Lay `child` over `base`.

    Args:
        base: What is extended.
        child: What wins.
        slot: What may stand there; None where nothing is known: then no section ever starts afresh.
    """
    if isinstance(child, MapNode) and isinstance(base, MapNode):
        shape = fitting(slot, child)
        if shape is not None and _changes_variant(base, child, shape):
            dropped = {
                key: entry.key_place for key, entry in base.entries.items() if key not in child.entries
            }
            return replace(child, dropped=dropped)
        return _merge_maps(base, child, shape)
    if isinstance(child, MapNode) and child.indexes and isinstance(base, ListNode):
        return _merge_into_list(base, child, slot)
    return child


def _merge_maps(base: MapNode, child: MapNode, shape: Shape | None) -> MapNode:
    entries = dict(base.entries)
    merged = replace(child, entries={**base.entries, **child.entries}, dropped=base.dropped)
    for key, entry in child.entries.items():
        slot = slot_of(shape, merged, key)
        before = entries.get(key)
        if before is None:
            entries[key] = entry
        elif isinstance(shape, DictShape) and not shape.value.nullable and is_null(entry.node):
            del entries[key]
        else:
            entries[key] = Entry(entry.key_place, merge(before.node, entry.node, slot))
    return replace(merged, entries=entries)


def _merge_into_list(base: ListNode, child: MapNode, slot: Slot | None) -> Node:
    """Replace items by index; an index that is not there makes the whole path stand, to be refused."""
    items = list(base.items)
    shape = fitting(slot, base)
    item_slot = shape.item if isinstance(shape, ListShape) else None
    for key, entry in child.entries.items():
        if not is_index(key) or int(key) >= len(items):
            return child
        items[int(key)] = merge(items[int(key)], entry.node, item_slot)
    return replace(base, items=tuple(items))


def _changes_variant(base: MapNode, child: MapNode, shape: Shape) -> bool:
    if not isinstance(shape, VariantsShape):
        return False
    asked, present = _asked_variant(child, shape), _present_variant(base, shape)
    return asked is not None and present is not None and asked is not present


def _asked_variant(node: MapNode, shape: VariantsShape) -> type[BaseModel] | None:
    """The variant that the child asks for in so many words."""
    if isinstance(shape.chooser, ChosenByKey):
        return variant_of(node, shape) if _names_its_tag(node, shape.chooser) else None
    return _variant_by_keys(node, shape)


def _present_variant(node: MapNode, shape: VariantsShape) -> type[BaseModel] | None:
    """The variant that the base is; None when what it says holds for several."""
    if isinstance(shape.chooser, ChosenByKey) and _names_its_tag(node, shape.chooser):
        return variant_of(node, shape)
    return _variant_by_keys(node, shape)


def _names_its_tag(node: MapNode, chooser: ChosenByKey) -> bool:
    named = node.get(chooser.key)
    return named is not None and not is_null(named)


def _variant_by_keys(node: MapNode, shape: VariantsShape) -> type[BaseModel] | None:
    """The variant that alone has one of these keys."""
    models = set(shape.variants.values())
    for key in node.entries:
        owners = [model for model in models if key in model.model_fields]
        if len(owners) == 1:
            return owners[0]
    return None


def variant_of(node: MapNode, shape: VariantsShape) -> type[BaseModel] | None:
    """The variant that the mapping is, defaults included; None when its tag is missing or unknown."""
    chooser = shape.chooser
    if not isinstance(chooser, ChosenByKey):
        return shape.variants[chooser(node.entries)]
    named = node.get(chooser.key)
    tag = named.value if isinstance(named, ScalarNode) and not is_null(named) else chooser.default
    return shape.variants.get(tag) if isinstance(tag, str) else None


def fitting(slot: Slot | None, node: Node) -> Shape | None:
    """The shape that holds this node, where a slot takes one of two."""
    if slot is None or not isinstance(slot.shape, EitherShape):
        return slot.shape if slot else None
    chooser = slot.shape.chooser
    return slot.shape.members[chooser.fits if _has_form(node, chooser.form) else chooser.other]


def _has_form(node: Node, form: Form) -> bool:
    match form:
        case "mapping":
            return isinstance(node, MapNode)
        case "list":
            return isinstance(node, ListNode)
        case "text":
            return is_text(node)
        case _:
            assert_never(form)


def slot_of(shape: Shape | None, node: Node, key: Key) -> Slot | None:
    """What may stand under `key` of this node."""
    match shape:
        case SectionShape(model=model):
            return slots(model).get(str(key))
        case VariantsShape() if isinstance(node, MapNode):
            variant = variant_of(node, shape)
            return slots(variant).get(str(key)) if variant else None
        case DictShape(value=value):
            return value
        case ListShape(item=item):
            return item
        case _:
            return None


def is_text(node: Node) -> bool:
    """Whether it is text."""
    return isinstance(node, ScalarNode) and isinstance(node.value, str)


def is_null(node: Node) -> bool:
    """Whether it says null."""
    return isinstance(node, ScalarNode) and node.value is None


def drop_nulls(node: Node, slot: Slot | None) -> Node:
    """Remove each null that stands for "the default": there is one, and null is no value of its own."""
    shape = fitting(slot, node)
    match node:
        case MapNode(entries=entries):
            kept: dict[str, Entry] = {}
            for key, entry in entries.items():
                inner = slot_of(shape, node, key)
                means_default = inner is not None and not inner.required and not inner.nullable
                if not (means_default and is_null(entry.node)):
                    kept[key] = replace(entry, node=drop_nulls(entry.node, inner))
            return replace(node, entries=kept)
        case ListNode(items=items) if isinstance(shape, ListShape):
            return replace(node, items=tuple(drop_nulls(item, shape.item) for item in items))
        case _:
            return node
