"""Whether the load moved, the prediction was off, both, or neither: one sentence (pure).

An answer is given once, here; the status, the metric, the dashboard and the page only show it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum

from msgspec.structs import replace

from guide.domain import Plan, Slo
from guide.live.measured import FEWEST_REQUESTS, Observation
from guide.record import Record
from guide.units import format_count, format_seconds

TOLERANCE = 0.10  # relative; a load within it is the planned one
USERS_TOLERANCE = 0.25  # of a count that is read at one moment
HITS_TOLERANCE = 0.10  # of all prompt tokens
DEVIATIONS = 3.0  # of a mean over few requests, taken as exponential: beyond them it is no chance

NAMES = {"ttft": "time to first token", "tpot": "time per output token", "e2e": "total time"}


class Verdict(StrEnum):
    """What explains that pods do other than planned."""

    AS_PLANNED = "AsPlanned"
    LOAD_MOVED = "LoadMoved"
    PREDICTION_OFF = "PredictionOff"
    BOTH_MOVED = "BothMoved"
    OTHER_REPLICAS = "OtherReplicas"  # neither can be judged: others serve than were planned
    TOO_LITTLE_TRAFFIC = "TooLittleTraffic"


class Judgement(Record, frozen=True, kw_only=True):
    """A verdict, its sentence, and the limits of the plan that were missed (ttft, tpot, e2e)."""

    verdict: Verdict
    sentence: str
    missed: tuple[str, ...] = ()


def judge(
    plan: Plan,
    found: Observation,
    *,
    replicas: int,
    off: Mapping[str, float],
    stable: bool = True,
    hit_share: float | None = None,
) -> Judgement:
    """Judge one window of a plan that `replicas` should serve.

    `off` holds observed / predicted, for the load as it is, of those metrics alone that lie outside
    their 90 % interval; `stable` says whether the layout can serve that load by prediction, and
    `hit_share` which prefix hits were simulated, where the plan does not state them itself.
    """
    plan = replace(plan, workload=plan.workload.as_found(hit_share))
    missed = tuple(misses(plan.slo, found))
    verdict, sentence = _verdict(plan, found, replicas, off if stable else {})
    if not stable and verdict in (Verdict.LOAD_MOVED, Verdict.AS_PLANNED):
        verdict, sentence = Verdict.LOAD_MOVED, _beyond(plan, found)
    if missed and verdict is not Verdict.TOO_LITTLE_TRAFFIC:
        sentence = f"{_misses_told(plan.slo, found, missed)} {sentence}"
    return Judgement(verdict=verdict, sentence=sentence, missed=missed)


def misses(slo: Slo, found: Observation) -> Iterator[str]:
    """The latencies whose observed p95 is above the limit of the plan."""
    for metric in NAMES:
        limit, seen = _p95_s(slo, metric), _p95_s(found, metric)
        if limit is not None and seen is not None and seen > limit:
            yield metric


def _p95_s(of: Slo | Observation, metric: str) -> float | None:
    """The limit on the p95 of a latency, or the observed one."""
    return getattr(of, f"{metric}_p95_s")


def too_little(found: Observation) -> str | None:
    """Why a window says nothing; None when it holds enough requests."""
    requests = found.requests or 0.0
    if requests >= FEWEST_REQUESTS:
        return None
    return (
        f"Not enough traffic to tell: {requests:.0f} requests in the window, "
        f"{FEWEST_REQUESTS} are needed."
    )


def other_replicas(found: Observation, replicas: int) -> str | None:
    """That more or fewer pods serve than `replicas`, in a clause; None where they agree."""
    if found.pods is None or round(found.pods) == replicas:
        return None
    return f"{found.pods:.0f} of {replicas} planned replicas report"


def arrivals_per_s(found: Observation) -> float | None:
    """Requests that came: those that ended, and those by which the ones in flight grew."""
    ended, requests = found.requests_per_s, found.requests
    if not ended or not requests or found.in_flight_before is None:
        return ended
    return ended * max(0.0, 1 + ((found.in_flight or 0.0) - found.in_flight_before) / requests)


def _verdict(
    plan: Plan, found: Observation, replicas: int, off: Mapping[str, float]
) -> tuple[Verdict, str]:
    scarce = too_little(found)
    if scarce:
        return Verdict.TOO_LITTLE_TRAFFIC, scarce
    others = other_replicas(found, replicas)
    if others:
        words = f"{others}: neither load nor prediction can be judged by that."
        return Verdict.OTHER_REPLICAS, words
    moved, wrong = list(_moved(plan, found)), [_off(metric, ratio) for metric, ratio in off.items()]
    if moved and wrong:
        words = f"Both moved: {_and(moved)}, and for that load {_and(wrong)}."
        return Verdict.BOTH_MOVED, words
    if moved:
        return (
            Verdict.LOAD_MOVED,
            f"{_capital(_and(moved))}; the prediction for that load is right.",
        )
    if wrong:
        return Verdict.PREDICTION_OFF, f"Load as planned; the prediction is off: {_and(wrong)}."
    return Verdict.AS_PLANNED, "Load and latencies are as planned."


def _moved(plan: Plan, found: Observation) -> Iterator[str]:
    """What of the load is other than planned, a clause each."""
    planned = plan.workload
    chance = DEVIATIONS / math.sqrt(max(1.0, found.requests or 1.0))
    if planned.requests_per_s is not None:
        seen, told = arrivals_per_s(found), planned.requests_per_s
        if plan.day is not None and seen is not None:  # all between night and peak is planned
            told = min(max(seen, plan.day.low_per_s), plan.day.peak_per_s)
        yield from _changed("the load", seen, told, "requests/s", chance)
    elif planned.concurrency is not None:
        users = (found.running or 0.0) + (found.waiting or 0.0)
        yield from _changed("the load", users, planned.concurrency, "users", USERS_TOLERANCE)
    for name, seen, told in (
        ("prompts", found.prompt_mean, planned.prompt.mean_tokens),
        ("outputs", found.output_mean, planned.output.mean_tokens),
    ):
        yield from _changed(name, seen, told, "tokens", chance)
    hits = found.prefix_hit_share
    if hits is not None and abs(hits - planned.prefix_hit_share) > HITS_TOLERANCE:
        told = planned.prefix_hit_share
        yield f"{hits:.0%} of the prompts' tokens were cached, {told:.0%} planned"


def _beyond(plan: Plan, found: Observation) -> str:
    told = _and(list(_moved(plan, found)) or ["the load is a little more than planned"])
    return f"{_capital(told)}: more than the deployment can serve, by the prediction too."


def _changed(
    name: str, seen: float | None, planned: float, unit: str, chance: float
) -> Iterator[str]:
    if not seen or planned <= 0:
        return
    ratio = seen / planned
    if abs(ratio - 1) <= max(TOLERANCE, chance):
        return
    grew = ("grew", "are longer") if ratio > 1 else ("fell", "are shorter")
    yield (
        f"{name} {grew[unit == 'tokens']}: {format_count(seen)} {unit}, "
        f"{format_count(planned)} planned"
    )


def _off(metric: str, ratio: float) -> str:
    return f"{NAMES[metric]} is {ratio:.2g} x the prediction"


def _misses_told(slo: Slo, found: Observation, missed: tuple[str, ...]) -> str:
    told = [
        f"p95 of {NAMES[metric]} is {format_seconds(_p95_s(found, metric) or 0.0)}, "
        f"the limit {format_seconds(_p95_s(slo, metric) or 0.0)}"
        for metric in missed
    ]
    return f"Limits are missed: {_and(told)}."


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
