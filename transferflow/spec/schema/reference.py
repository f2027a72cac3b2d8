"""Writes docs/spec-reference.md: every key of a spec with its type, default and meaning.

Run as `python -m transferflow.spec.schema.reference [FILE]`.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.load import PRESETS, preset_names
from transferflow.spec.merging import merge
from transferflow.spec.merging.shape import (
    DictShape,
    EitherShape,
    ListShape,
    ScalarShape,
    SectionShape,
    Shape,
    Slot,
    VariantsShape,
    slots,
)
from transferflow.spec.sections.base import ChosenByKey
from transferflow.spec.yaml import scalars

FILE = Path("docs/spec-reference.md")

_HEAD = """# Spec reference

<!-- Written by `make docs` from the models in transferflow/spec; changes belong there. -->

A spec is one YAML file. `name`, `task`, `data` and `backbone` are required; everything else has a default.
Check specs with `transferflow validate PATH...`; write the JSON schema for your editor with
`transferflow schema --output spec.schema.json` and name it in the first line of a spec:

```yaml
# yaml-language-server: $schema=spec.schema.json
```
"""

_READING = """
## How a file is read

{scalars}

Keys are text as they are spelled. A key that stands twice, a tag (`!!python/...`), a second document, an
alias bomb and a file over 1 MB are refused. Anchors, aliases and merge keys (`<<`) work.

## Extending and overriding

`extends: base.yaml` lays a spec over another one, `extends: preset:NAME` over a preset, and
`--set KEY.PATH=VALUE` over both, as in `--set optimizer.lr=3e-4`, `--set freeze.phases.0.epochs=5` or
`--set optimizer.layer_lr."blocks.0"=1e-4`.

{merging}

## Presets
"""

_DEFAULT_FROM_TASK = {
    "freeze": "by task: `none`; `backbone` for segmentation",
    "head": "by task: `linear`, `faster_rcnn` or `deeplabv3`",
}


def reference() -> str:
    """The page's text."""
    parts = [_HEAD, "\n## The whole spec\n\n", _table(ExperimentSpec, "")]
    for name, slot in slots(ExperimentSpec).items():
        parts += _section(name, slot.shape, level=2)
    parts.append(
        _READING.format(scalars=_text_after_title(scalars.__doc__), merging=_text_after_title(merge.__doc__))
    )
    for preset in preset_names():
        source = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").strip()
        parts.append(f"\n### preset:{preset}\n\n```yaml\n{source}\n```\n")
    return "".join(parts)


def _section(path: str, shape: Shape, level: int) -> Iterator[str]:
    """Heading and table of a section, then those of the sections in it."""
    match shape:
        case SectionShape(model=model):
            yield f"\n{'#' * level} {path}\n\n{_about(model)}\n\n{_table(model, path)}"
            yield from _inner(path, [model], level)
        case VariantsShape(variants=variants):
            models = list(dict.fromkeys(variants.values()))
            yield f"\n{'#' * level} {path}\n"
            shared = _shared_keys(models)
            if shared:
                yield f"\nEvery variant has these keys:\n\n{_table(models[0], path, shared)}"
            for model in models:
                tags = [tag for tag, other in variants.items() if other is model]
                own = [name for name in model.model_fields if name not in shared]
                yield f"\n{'#' * (level + 1)} {path}: {_tag_title(shape, tags)}\n\n{_about(model)}\n\n"
                yield _table(model, path, sorted(own, key=lambda name: name not in shape.chooser.keys))
            yield from _inner(path, models, level)
        case EitherShape(members=members):
            for member in members.values():
                yield from _section(path, member, level)
        case ListShape(item=item):
            yield from _section(f"{path}[]", item.shape, level)
        case DictShape() | ScalarShape():
            return


def _inner(path: str, models: list[type[BaseModel]], level: int) -> Iterator[str]:
    seen: set[str] = set()
    for model in models:
        for name, slot in slots(model).items():
            if name not in seen:
                seen.add(name)
                yield from _section(f"{path}.{name}", slot.shape, min(level + 1, 4))


def _shared_keys(models: list[type[BaseModel]]) -> list[str]:
    """Keys that say the same in every variant."""
    return [
        name
        for name, info in models[0].model_fields.items()
        if all(
            name in model.model_fields
            and slots(model)[name] == slots(models[0])[name]
            and _default(model, name) == _default(models[0], name)
            and model.model_fields[name].description == info.description
            for model in models
        )
    ]


def _tag_title(shape: VariantsShape, tags: list[str]) -> str:
    chooser = shape.chooser
    if isinstance(chooser, ChosenByKey):
        return f"{chooser.key} {', '.join(tags)}"
    if chooser.absent in tags:
        return "without " + " or ".join(f"`{key}`" for key in chooser.keys)
    return f"with `{tags[0]}`"


def _table(model: type[BaseModel], path: str, names: Sequence[str] = ()) -> str:
    lines = ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    for name in names or model.model_fields:
        slot = slots(model)[name]
        meaning = " ".join((model.model_fields[name].description or _about(model)).split())
        cells = (f"`{name}`", _type(slot, f"{path}.{name}".lstrip(".")), _default(model, name), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(slot: Slot, path: str) -> str:
    match slot.shape:
        case SectionShape() | VariantsShape():
            text = f"section, see [{path}](#{_anchor(path)})"
        case ListShape(item=Slot(shape=SectionShape() | VariantsShape())):
            text = f"list of sections, see [{path}[]](#{_anchor(path)})"
        case ScalarShape(choices=(only,)):
            text = f"`{only}`"
        case ScalarShape(choices=choices) if choices:
            text = ", ".join(f"`{choice}`" for choice in choices)
        case shape:
            text = shape.words
    return f"{text}, or null" if slot.nullable else text


def _anchor(path: str) -> str:
    return "".join(c for c in path.lower() if c.isalnum() or c in "_-")


def _default(model: type[BaseModel], name: str) -> str:
    info = model.model_fields[name]
    if info.is_required():
        return "**required**"
    if info.default_factory is not None:
        return _DEFAULT_FROM_TASK[name]
    value = info.default.model_dump(mode="json") if isinstance(info.default, BaseModel) else info.default
    if isinstance(value, dict):
        return "its defaults" if value else "none"
    return f"`{_as_yaml(value)}`"


def _as_yaml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_as_yaml(item) for item in value)}]"
    if isinstance(value, str):
        return value if value.replace("_", "").isalnum() else json.dumps(value)
    return json.dumps(value)


def _about(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _text_after_title(doc: str | None) -> str:
    return inspect.cleandoc(doc or "").partition("\n\n")[2]


def main() -> None:
    """Write the page."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    target.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
