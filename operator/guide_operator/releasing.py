"""When GPUs that were reserved for pods which do not start are given back (pure).

What pods have taken is theirs; this is of the rest. The Deployments stay: pods that start later
take what is free then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from guide.units import format_duration
from guide_operator import pods
from guide_operator.status import Condition

Object = dict[str, Any]

SINCE, RELEASED = "notStartingSince", "released"  # of `status.applied`


def judged(
    applied: Mapping[str, Any],
    before: Mapping[str, Any],
    conditions: Iterable[Condition],
    now: str,
    release_s: float,
) -> tuple[Object, list[Condition]]:
    """`applied` with since when its pods do not start; `conditions` that say what is given back.

    `before` is what the status said of it.
    """
    told = list(conditions)
    rest = {key: value for key, value in applied.items() if key not in (SINCE, RELEASED)}
    if not any(one.type == "Ready" and one.reason == pods.NOT_STARTING for one in told):
        return rest, told
    since = before.get(SINCE, now)
    if seconds_since(since, now) < 0:  # a clock was set back
        since = now
    if not before.get(RELEASED) and seconds_since(since, now) < release_s:
        return {**rest, SINCE: since}, told
    given = f" GPUs that no pod holds after {format_duration(release_s)} are given back."
    waits = [one.reason == pods.NOT_STARTING for one in told]
    return {**rest, SINCE: since, RELEASED: True}, [
        replace(one, message=one.message + given) if waiting else one
        for one, waiting in zip(told, waits, strict=True)
    ]


def seconds_since(then: str | None, now: str) -> float:
    """How long ago a time was, both as the API writes them; 0 where there is none."""
    if then is None:
        return 0.0
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
