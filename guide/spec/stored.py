"""How Kubernetes keeps a part of an answer: decimals as text, nothing null, nothing required.

API conventions know no floats. Nothing is required and no list of words is closed, since a status
outlives the version of GUIDE that wrote it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, TypeAdapter, WithJsonSchema
from pydantic_core import CoreSchema

Schema = dict[str, Any]
_DROPPED = ("anyOf", "const", "enum", "required", "title")


class Keep:
    """Marks a document type whose values are stored; they are checked when they are written."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        whole = TypeAdapter(source).json_schema()
        kept = WithJsonSchema(_kept(whole, whole.pop("$defs", {})))
        return handler.generate_schema(Annotated[dict[str, Any], kept])


T = TypeVar("T")
Stored = Annotated[T, Keep()]


def _kept(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        said = {key: text for key, text in schema.items() if key != "$ref"}
        return _kept({**target, **said}, definitions)
    kept = {
        key: value for key, value in schema.items() if key not in ("required", "anyOf", "title")
    }
    options = [o for o in schema.get("anyOf", []) if o != {"type": "null"}]
    for option in reversed(options):  # what the first says stands
        found = _kept(option, definitions)
        together = {**kept.get("properties", {}), **found.get("properties", {})}
        kept = {**found, **kept, **({"properties": together} if together else {})}
    if kept.get("type") == "number":
        kept["type"] = "string"
    if "properties" in kept:
        kept["properties"] = {
            name: _kept(value, definitions) for name, value in kept["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _kept(kept[key], definitions)
    return kept
