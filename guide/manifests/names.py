"""Names and labels of generated objects: valid everywhere, at most 63 characters (pure)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guide.spec import InferencePlan

LIMIT = 63
_VALID = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

PLAN_LABEL = "guide.dev/plan"
GROUP_LABEL = "guide.dev/group"
MANAGED_BY = "guide"


def object_name(plan: str, suffix: str = "", limit: int = LIMIT) -> str:
    """The name of an object of `plan`, valid for every kind (Services are the strictest), of at
    most `limit` characters.

    A name that had to be changed, because it is long or has dots or a leading digit, ends in a
    digest of the
    original, so that two plans never share an object.
    """
    wanted = f"{plan}-{suffix}" if suffix else plan
    if len(wanted) <= limit and _VALID.fullmatch(wanted):
        return wanted
    digest = hashlib.sha256(plan.encode()).hexdigest()[:8]
    tail = f"-{digest}-{suffix}" if suffix else f"-{digest}"
    head = re.sub(r"[^a-z0-9]+", "-", plan.lower()).strip("-")
    if not head[:1].isalpha():
        head = f"plan-{head}"
    return head[: limit - len(tail)].rstrip("-") + tail


def manifests_name(plan: str) -> str:
    """The ConfigMap that holds the rendered files of `plan`."""
    return object_name(plan, "manifests")


def instance_labels(plan: str) -> dict[str, str]:
    """Labels that select everything of `plan`."""
    name = object_name(plan)
    return {"app.kubernetes.io/instance": name, PLAN_LABEL: name}


def labels(plan: str, component: str) -> dict[str, str]:
    """Labels of an object of `plan`; `component` is its framework, or ``inference`` if shared."""
    return {
        **instance_labels(plan),
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "app.kubernetes.io/name": component.lower(),
    }


def meta(plan: InferencePlan, name: str, component: str = "inference") -> dict[str, Any]:
    """Name, namespace and labels of a generated object."""
    return {
        "labels": labels(plan.metadata.name, component),
        "name": name,
        "namespace": plan.metadata.namespace,
    }
