"""The smallest plan that asks something, which tests spoil and change."""

from __future__ import annotations

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
