"""What pods of a plan did, as the plans page shows it beside the prediction and the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from guide.cluster.json_values import mapping
from guide.domain import Slo
from guide.live.measured import observation
from guide.live.verdict import misses
from guide.report.tables import Table
from guide.units import MILLISECOND, format_count, format_seconds
from guide.web.state import State

Object = Mapping[str, Any]
_LATENCIES = {
    "ttft": "First token (TTFT)",
    "tpot": "Further tokens (TPOT)",
    "e2e": "Whole answer",
}
# field of the form -> what was observed of it
_LOAD = {
    "rps": "requestsPerSecond",
    "input": "promptMean",
    "input95": "promptP95",
    "output": "outputMean",
    "output95": "outputP95",
}
_RATES = {"requestsPerSecond": "Requests/s", "outputTokensPerSecond": "Output tokens/s"}


def missed(plan: Object) -> tuple[str, ...]:
    """The latencies whose observed p95 is above the limit of the plan (ttft, tpot, e2e)."""
    seen = mapping(mapping(plan.get("status")).get("observed"))
    found = {f"{metric}_p95_s": number(seen.get(f"{metric}P95Seconds")) for metric in _LATENCIES}
    slo = Slo(**{f"{metric}_p95_s": limit_s(plan, metric) for metric in _LATENCIES})
    return tuple(misses(slo, observation({k: v for k, v in found.items() if v is not None})))


def verdict(plan: Object) -> str:
    """The operator's sentence on load and prediction; empty where it has none."""
    seen = mapping(mapping(plan.get("status")).get("observed"))
    return str(mapping(seen.get("verdict")).get("message", ""))


def as_it_is(form: State, plan: Object) -> State | None:
    """The plan's question for the load that was observed; None where too little is known of it."""
    seen = mapping(mapping(plan.get("status")).get("observed"))
    values: dict[str, str] = {}
    for name, key in _LOAD.items():
        value = number(seen.get(key))
        if value:
            values[name] = f"{value:.3g}" if name == "rps" else f"{value:.0f}"
    if not {"input", "output"} <= values.keys():
        return None
    if form.values.get("users"):  # what ended in a second is no count of users
        users = sum(number(seen.get(key)) or 0.0 for key in ("running", "waiting"))
        values = {**values, "rps": "", "users": f"{max(1.0, users):.0f}"}
    return form.changed(**values)


def limit_s(plan: Object, metric: str) -> float | None:
    """The plan's limit on the p95 of a latency, as written."""
    limit = number(mapping(mapping(plan.get("spec")).get("slo")).get(f"{metric}P95Milliseconds"))
    return None if limit is None else limit * MILLISECOND


def predicted(status: Object, metric: str) -> Object:
    """The stored percentiles of a latency."""
    found = mapping(mapping(status.get("best")).get("predicted"))
    return mapping(found.get(f"{metric}Seconds"))


def service(plan: Object) -> Table:
    """Observed beside the limit, and predicted: for the load as it is, and as planned."""
    status = mapping(plan.get("status"))
    seen = mapping(status.get("observed"))
    lines: list[tuple[str, ...]] = []
    if not (seen or status.get("best")):
        return Table(title="Predicted against observed", heads=(), rows=())
    for metric, name in _LATENCIES.items():
        planned = predicted(status, metric)
        now = mapping(mapping(seen.get("predicted")).get(metric))
        for key in ("mean", "p95"):
            ends = mapping(planned.get("interval90")) if key == "p95" else {}
            limit = limit_s(plan, metric) if key == "p95" else None
            lines.append(
                (
                    f"{name}, {key}",
                    "" if limit is None else format_seconds(limit),
                    time_of(seen.get(f"{metric}{key.capitalize()}Seconds")),
                    time_of(now.get(f"{key}Seconds")),
                    time_of(planned.get(key)),
                    " – ".join(time_of(ends.get(end)) for end in ("lower", "upper"))
                    if ends
                    else "",
                )
            )
    for key, name in _RATES.items():
        planned = mapping(mapping(mapping(status.get("best")).get("predicted")).get(key))
        lines.append((name, "", count_of(seen.get(key)), "", count_of(planned.get("value")), ""))
    return Table(
        title="Predicted against observed",
        heads=(
            "metric",
            "limit",
            "observed",
            "predicted for this load",
            "as planned",
            "90 % interval",
        ),
        rows=tuple(lines),
        numeric=(1, 2, 3, 4, 5),
    )


def number(value: object) -> float | None:
    """A finite number, or None."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def time_of(value: object) -> str:
    """Seconds for people."""
    found = number(value)
    return "–" if found is None else format_seconds(found)


def count_of(value: object) -> str:
    """A count for people."""
    found = number(value)
    return "–" if found is None else format_count(found)
