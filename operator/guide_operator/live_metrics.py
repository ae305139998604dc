"""Samples of what was observed of a plan: its verdict, and the prediction for the load as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guide.live.verdict import Verdict

Object = Mapping[str, Any]
Sample = tuple[tuple[str, ...], float]


def expected(metric: str) -> Callable[[Object], Iterator[Sample]]:
    """Mean and p95 of a latency (ttft, tpot, e2e), predicted for the load as it is."""

    def samples(plan: Object) -> Iterator[Sample]:
        found = plan["status"].get("observed", {}).get("predicted", {}).get(metric, {})
        for statistic in ("mean", "p95"):
            if f"{statistic}Seconds" in found:
                yield (*_plan(plan), statistic), float(found[f"{statistic}Seconds"])

    return samples


def verdicts(plan: Object) -> Iterator[Sample]:
    """1 for the verdict that holds, 0 for the others; nothing before the first one."""
    found = plan["status"].get("observed", {}).get("verdict")
    if found:
        for one in Verdict:
            yield (*_plan(plan), one.value), float(one.value == found["kind"])


def _plan(plan: Object) -> tuple[str, str]:
    return plan["metadata"]["namespace"], plan["metadata"]["name"]
