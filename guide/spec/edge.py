"""The base of all types that users write, and how their rules are stated."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError


class Edge(BaseModel):
    """Base of the types that users write: frozen, camelCase, unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, defer_build=True
    )


def rule(cel: str, message: str) -> dict[str, str]:
    """A CEL rule for the CRD that says the same as the validator beside it."""
    return {"rule": cel, "message": message}


def rules(*cel: dict[str, str]) -> ConfigDict:
    """The model configuration that carries CEL rules into the CRD."""
    extra: JsonDict = {"x-kubernetes-validations": [dict(each) for each in cel]}
    return ConfigDict(json_schema_extra=extra)


def refuse(message: str) -> PydanticCustomError:
    """An error whose text is already the sentence; braces in it are data, not a template."""
    return PydanticCustomError("plan", "{sentence}", {"sentence": message})  # pyright: ignore[reportArgumentType]
