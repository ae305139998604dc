"""The smallest plan that asks something, which tests spoil and change."""

from __future__ import annotations

import copy
from typing import Any

PLAN: dict[str, Any] = {
    "apiVersion": "guide.dev/v1alpha1",
    "kind": "InferencePlan",
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "workload": {
            "inputTokens": {"mean": 1024, "p95": 3000},
            "outputTokens": {"mean": 256},
            "requestsPerSecond": 8,
        },
    },
}
ABSENT = object()

# what may be asked besides, stating no more than it must: path and value
ASKED: dict[str, tuple[str, Any]] = {
    "prefixes": ("spec.workload.prefixes", {"groups": 8, "sharedTokens": 500}),
    "drafts": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 2, "acceptancePercent": [50]},
    ),
    "two pools": ("spec.disaggregation", {"networkGbitPerSecond": 100}),
    "a day": (
        "spec.workload",
        {
            "inputTokens": {"mean": 1024},
            "outputTokens": {"mean": 256},
            "dayProfile": {"requestsPerSecond": [0, "1.5"]},
        },
    ),
    "a batch": (
        "spec.workload",
        {
            "inputTokens": {"mean": 1024},
            "outputTokens": {"mean": 256},
            "offline": {"requests": 100},
        },
    ),
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The plan with another value at a path, or without it where that is ABSENT."""
    plan = copy.deepcopy(PLAN)
    *parents, last = path.split(".")
    place = plan
    for part in parents:
        place = place.setdefault(part, {})
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return plan
