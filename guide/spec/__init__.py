"""InferencePlan: what users write, checked and turned into the engine's question."""

from guide.spec.documents import read_document, write_document
from guide.spec.plan import API_VERSION, KIND, InferencePlan, InferencePlanSpec
from guide.spec.resolve import load_plan, parse_plan, resolve_model, resolve_plan

__all__ = [
    "API_VERSION",
    "KIND",
    "InferencePlan",
    "InferencePlanSpec",
    "load_plan",
    "parse_plan",
    "read_document",
    "resolve_model",
    "resolve_plan",
    "write_document",
]
