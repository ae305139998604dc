"""The corrections as the data of a ConfigMap, readable by people (pure)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from guide.errors import SpecError
from guide.live.learn import SERVING_LIMIT, STEP_LIMIT, Correction, Corrections

NAME = "guide-corrections"
FILE = "corrections.json"
_FIELDS = {
    "logStepFactor": "step",
    "logServingFactor": "serving",
    "requests": "requests",
    "updates": "updates",
    "updatedAt": "updated_at",
}


def config_map(ledger: Corrections, namespace: str) -> dict[str, Any]:
    """The ConfigMap that holds `ledger`."""
    document = {
        "version": ledger.version,
        "corrections": {
            key: {name: getattr(one, attribute) for name, attribute in _FIELDS.items()}
            for key, one in sorted(ledger.corrections.items())
        },
        "history": list(ledger.history),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "guide", "app.kubernetes.io/managed-by": "guide"},
        },
        "data": {FILE: json.dumps(document, indent=2) + "\n"},
    }


def from_config_map(found: Mapping[str, Any] | None) -> Corrections:
    """The ledger of a ConfigMap, empty when there is none; `SpecError` for one that is damaged."""
    text = None if found is None else found.get("data", {}).get(FILE)
    if text is None:
        return Corrections()
    try:
        document = cast("dict[str, Any]", json.loads(text))
        corrections = {
            key: Correction(**{attribute: row[name] for name, attribute in _FIELDS.items()})
            for key, row in cast("dict[str, dict[str, Any]]", document["corrections"]).items()
        }
        for one in corrections.values():
            _check(one)
        history = tuple(str(line) for line in document["history"])
        return Corrections(
            version=int(document["version"]), corrections=corrections, history=history
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SpecError(
            f"ConfigMap {NAME}, {FILE}: {error}: mend it, or run guide calibrate --reset"
        ) from None


def _check(one: Correction) -> None:
    for value, limit in ((one.step, STEP_LIMIT), (one.serving, SERVING_LIMIT)):
        if not math.isfinite(value) or abs(value) > limit + 1e-3:
            raise ValueError(f"a log factor of {value} is outside its bounds")
