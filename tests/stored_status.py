"""Whether a status is what the CRD describes, to the last field."""

from __future__ import annotations

from typing import Any

import jsonschema

from guide.spec.status import InferencePlanStatus
from hack.crd import structural


def fits(status: dict[str, Any]) -> None:
    """Raises `jsonschema.ValidationError` for a wrong type and for a field to be pruned."""
    jsonschema.validate(status, _closed(structural(InferencePlanStatus)))


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {k: _closed(v) for k, v in schema["properties"].items()}
        closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed
