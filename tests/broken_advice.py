"""Mutations of a good plan in what advice is given on: drafts, prefixes, two pools."""

from __future__ import annotations

from typing import Any

from tests.good_plan import PLAN

_LOAD: dict[str, Any] = PLAN["spec"]["workload"]
_NO_LOAD = {key: value for key, value in _LOAD.items() if key != "requestsPerSecond"}
_PREFIXES = {"groups": 8, "sharedTokens": 500}

# what is wrong -> (path, value, what the sentence must say)
ADVISED: dict[str, tuple[str, Any, str]] = {
    "more drafts accepted than there are": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 3, "acceptancePercent": [101]},
        "spec.workload.speculation.acceptancePercent[0] is 101, but it must be at most 100",
    ),
    "negative acceptance": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 3, "acceptancePercent": [50, -1]},
        "spec.workload.speculation.acceptancePercent[1] is -1, but it must be at least 0",
    ),
    "nothing drafted": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 0, "acceptancePercent": [50]},
        "spec.workload.speculation.tokens is 0, but it must be at least 1",
    ),
    "too much drafted": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 17, "acceptancePercent": [50]},
        "spec.workload.speculation.tokens is 17, but it must be at most 16",
    ),
    "more positions than drafted tokens": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 2, "acceptancePercent": [80, 60, 40]},
        "acceptancePercent has 3 positions and tokens is 2",
    ),
    "no acceptance": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 2},
        "spec.workload.speculation.acceptancePercent",
    ),
    "EAGLE without its head": (
        "spec.workload.speculation",
        {"method": "EAGLE", "tokens": 2, "acceptancePercent": [80]},
        "EAGLE and DraftModel need it",
    ),
    "n-grams with a draft model": (
        "spec.workload.speculation",
        {"method": "NGram", "tokens": 2, "acceptancePercent": [80], "draftModel": "a/b"},
        "draftModel is for EAGLE and DraftModel",
    ),
    **{
        f"prefixes: {name}": ("spec.workload.prefixes", value, said)
        for name, value, said in (
            (
                "no groups",
                {"groups": 0, "sharedTokens": 500},
                "spec.workload.prefixes.groups is 0, but it must be at least 1",
            ),
            ("no length", {"groups": 5}, "spec.workload.prefixes.sharedTokens"),
            (
                "nothing of a prompt's own",
                {"groups": 5, "sharedTokens": 1024},
                "prefixes.sharedTokens is 1024 and the mean input 1024: it must be below",
            ),
            (
                "more turns than a prompt holds",
                {"groups": 5, "sharedTokens": 500, "turns": 6},
                "inputTokens.mean is too small for prefixes.turns",
            ),
            (
                "endless conversations",
                {"groups": 5, "sharedTokens": 5, "turns": 65},
                "spec.workload.prefixes.turns is 65, but it must be at most 64",
            ),
            (
                "a router that nobody knows",
                {"groups": 5, "sharedTokens": 500, "router": "LeastLoaded"},
                "spec.workload.prefixes.router",
            ),
        )
    },
    "prefixes beside their hits": (
        "spec.workload",
        {**_LOAD, "prefixes": _PREFIXES, "prefixCacheHitPercent": 30},
        "prefixes says what is found again: remove prefixCacheHitPercent",
    ),
    "prefixes of a batch behind a router": (
        "spec.workload",
        {
            **_NO_LOAD,
            "offline": {"requests": 500},
            "prefixes": {**_PREFIXES, "router": "PrefixAware"},
        },
        "an offline batch has no turns, no router and no more groups than requests",
    ),
    "more groups than a batch has requests": (
        "spec.workload",
        {**_NO_LOAD, "offline": {"requests": 7}, "prefixes": _PREFIXES},
        "prefixes.groups to the size of the batch at most",
    ),
    "fewer conversations than users": (
        "spec.workload",
        {**_NO_LOAD, "concurrency": 9, "prefixes": {**_PREFIXES, "turns": 2}},
        "prefixes.groups must be at least concurrency",
    ),
    "conversations over the day": (
        "spec.workload",
        {
            **_NO_LOAD,
            "dayProfile": {"low": 1, "mean": 2, "peak": 4},
            "prefixes": {**_PREFIXES, "turns": 2},
        },
        "replicas that follow a dayProfile come and go",
    ),
    "two pools without a network between them": (
        "spec.disaggregation",
        {},
        "spec.disaggregation.networkGbitPerSecond",
    ),
    "no network between two pools": (
        "spec.disaggregation",
        {"networkGbitPerSecond": 0},
        "spec.disaggregation.networkGbitPerSecond is 0, but it must be at least 1",
    ),
    "two pools for a batch": (
        "spec",
        {
            **PLAN["spec"],
            "workload": {
                "inputTokens": {"mean": 100},
                "outputTokens": {"mean": 100},
                "offline": {"requests": 5},
            },
            "disaggregation": {"networkGbitPerSecond": 100},
        },
        "disaggregation sizes two pools for an open loop",
    ),
    "two pools for speed": (
        "spec",
        {
            **PLAN["spec"],
            "preference": "Latency",
            "disaggregation": {"networkGbitPerSecond": 100},
        },
        "needs preference Cost",
    ),
}
