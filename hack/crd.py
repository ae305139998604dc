"""Writes the CustomResourceDefinition from the types in `guide.spec`: ``python -m hack.crd``.

Kubernetes wants a structural schema: no references, no unions with null, no titles. Defaults are
left out on purpose: the API server would write them into the user's object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from guide.spec import API_VERSION, KIND, write_document
from guide.spec.plan import InferencePlanSpec
from guide.spec.status import InferencePlanStatus

ROOT = Path(__file__).resolve().parent.parent
TARGETS = (ROOT / "crds/inferenceplans.yaml", ROOT / "charts/guide/files/inferenceplans.yaml")
HEADER = "# Generated from guide/spec by `make generate`; do not edit.\n"

_DROPPED = {"title", "default", "propertyNames", "$defs"}
_READY = '.status.conditions[?(@.type=="Ready")]'
_COLUMNS = (
    ("Model", "string", ".spec.model.name", "Model to serve"),
    ("GPU", "string", ".status.summary.gpu", "Recommended GPU"),
    ("Framework", "string", ".status.summary.framework", "Inference framework"),
    ("TP", "integer", ".status.summary.tp", "Tensor parallelism"),
    ("PP", "integer", ".status.summary.pp", "Pipeline parallelism"),
    ("Replicas", "integer", ".status.summary.replicas", "Replicas"),
    ("USD/h", "string", ".status.summary.hourlyUSD", "US dollars per hour"),
    ("TTFT(ms)", "integer", ".status.summary.ttftP95Milliseconds", "Predicted p95"),
    ("Ready", "string", f"{_READY}.status", "Whether the plan is answered"),
    ("Reason", "string", f"{_READY}.reason", "Why it is, or is not"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the plan was made"),
)


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of `model` as Kubernetes accepts it."""
    schema = model.model_json_schema(by_alias=True)
    return _folded(schema, schema.get("$defs", {}))


def _folded(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rsplit("/", 1)[-1]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
        return _folded(schema, definitions)
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option != {"type": "null"}]
        if len(options) != 1:
            raise ValueError(f"only a union with null can be folded: {schema}")
        rest = {k: v for k, v in schema.items() if k != "anyOf"}
        return _folded({**options[0], **rest}, definitions)
    folded = {k: v for k, v in schema.items() if k not in _DROPPED}
    if "patternProperties" in folded:  # Kubernetes knows patterns of values, not of names
        (folded["additionalProperties"],) = folded.pop("patternProperties").values()
    if "const" in folded:
        folded["enum"] = [folded.pop("const")]
    if folded.get("type") == "integer":
        folded["format"] = "int64"
    if folded.get("additionalProperties") is False:
        del folded["additionalProperties"]
    elif isinstance(folded.get("additionalProperties"), dict):
        folded["additionalProperties"] = _folded(folded["additionalProperties"], definitions)
    if "items" in folded:
        folded["items"] = _folded(folded["items"], definitions)
    if "properties" in folded:
        folded["properties"] = {
            name: _folded(_with_default(value), definitions)
            for name, value in folded["properties"].items()
        }
    return folded


def _with_default(field: dict[str, Any]) -> dict[str, Any]:
    """The default, said in the description, where it is a single value."""
    default = field.get("default")
    if isinstance(default, (list, dict)) or default is None:
        return field
    shown = str(default).lower() if isinstance(default, bool) else default
    return {**field, "description": f"{field['description']} Default: {shown}."}


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition of InferencePlan."""
    group, version = API_VERSION.split("/")
    plural = "inferenceplans"
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "description": about}
        for name, kind, path, about in _COLUMNS
    ]
    schema = {
        "type": "object",
        "description": "A model, a workload and limits: GUIDE recommends how to deploy it.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this API."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": structural(InferencePlanSpec),
            "status": structural(InferencePlanStatus),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "categories": ["guide", "inference"],
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": plural,
                "shortNames": ["iplan"],
                "singular": KIND.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "additionalPrinterColumns": columns,
                    "name": version,
                    "schema": {"openAPIV3Schema": schema},
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def text() -> str:
    """The file as it is committed."""
    return HEADER + write_document(crd())


if __name__ == "__main__":
    for path in TARGETS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(), encoding="utf-8")
