"""The JSON schema of a spec, in the form that editors' YAML support understands (draft 7).

A spec that extends another one may leave anything out, so there are two of each definition: a whole one,
and a `Partial` one without required keys, which holds where `extends` is given. Rules between sections
are left to `transferflow validate`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from transferflow.spec.examples import FIELD_EXAMPLES, SPEC_EXAMPLE
from transferflow.spec.experiment import ExperimentSpec
from transferflow.spec.load import PRESET_PREFIX, preset_names

Json: TypeAlias = dict[str, Any]

_SPEC = "ExperimentSpec"
_PARTIAL = "Partial"
_REFERENCE = "#/definitions/"
_NULL = {"type": "null"}


def spec_schema() -> Json:
    """Build the schema; every definition and key is described, the common ones have examples."""
    raw = ExperimentSpec.model_json_schema(ref_template=_REFERENCE + "{model}")
    models = {**raw.pop("$defs"), _SPEC: raw}
    whole = {name: _definition(name, schema) for name, schema in models.items()}
    partial = {f"{_PARTIAL}{name}": _without_required(schema) for name, schema in whole.items()}
    extends = _extends()
    partial[f"{_PARTIAL}{_SPEC}"]["properties"]["extends"] = extends
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "transferflow spec",
        "description": whole[_SPEC]["description"],
        "type": "object",
        "properties": {"extends": extends},
        "if": {"required": ["extends"]},
        "then": {"$ref": f"{_REFERENCE}{_PARTIAL}{_SPEC}"},
        "else": {"$ref": f"{_REFERENCE}{_SPEC}"},
        "examples": [SPEC_EXAMPLE],
        "definitions": dict(sorted({**whole, **partial}.items())),
    }


def _extends() -> Json:
    presets = [f"{PRESET_PREFIX}{name}" for name in preset_names()]
    return {
        "description": "A spec to lay this one over: a file, relative to this one, or a preset.",
        "anyOf": [{"enum": presets}, {"type": "string", "pattern": "^(?!preset:).+$"}],
        "examples": ["base.yaml", *presets],
    }


def _definition(name: str, schema: Json) -> Json:
    """One model: described keys, of which those with a default may be null (it means the default)."""
    if "properties" not in schema:
        return {"description": "Any value."}  # free-form arguments
    required = schema.get("required", [])
    description = _one_line(schema.get("description", ""))
    properties = {}
    for key, value in schema["properties"].items():
        described = {"description": description, **_plain(value)}  # a tag is described by its section
        property_ = described if key in required else _or_null(described)
        examples = FIELD_EXAMPLES.get(name, {}).get(key)
        properties[key] = {**property_, "examples": examples} if examples else property_
    kept: Json = {key: schema[key] for key in ("type", "additionalProperties", "required") if key in schema}
    return {"description": description, **kept, "properties": properties}


def _plain(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Put pydantic's newer vocabulary into draft 7's, all the way down."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(item) for key, item in value.items() if key not in ("discriminator", "title")}
    if isinstance(plain.get("description"), str):
        plain["description"] = _one_line(plain["description"])
    if "oneOf" in plain:
        # Two variants may share a model, or both allow an empty section: any of them will do.
        plain["anyOf"] = _distinct(plain.pop("oneOf"))
    if "prefixItems" in plain:
        plain["items"] = plain.pop("prefixItems")[0]  # our fixed lists hold one kind of item
    if "$ref" in plain and len(plain) > 1:
        plain["allOf"] = [{"$ref": plain.pop("$ref")}]  # draft 7 ignores what stands beside a $ref
    return plain


def _distinct(schemas: list[Json]) -> list[Json]:
    return [schema for number, schema in enumerate(schemas) if schema not in schemas[:number]]


def _or_null(schema: Json) -> Json:
    about: Json = {key: schema[key] for key in ("description", "default") if key in schema}
    allowed = {key: value for key, value in schema.items() if key not in about}
    if isinstance(allowed.get("type"), str) and "enum" not in allowed and "const" not in allowed:
        return {**about, **allowed, "type": [allowed["type"], "null"]}
    if set(allowed) == {"anyOf"}:
        return {**about, "anyOf": _distinct([*allowed["anyOf"], _NULL])}
    return {**about, "anyOf": [allowed, _NULL]}


def _without_required(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """A copy in which nothing is required and references lead to partial definitions."""
    if isinstance(value, list):
        return [_without_required(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {key: _without_required(item) for key, item in value.items() if key != "required"}
    if isinstance(copy.get("$ref"), str):
        copy["$ref"] = copy["$ref"].replace(_REFERENCE, _REFERENCE + _PARTIAL)
    return copy


def _one_line(text: str) -> str:
    return " ".join(text.split())
