"""What pods did beside what was predicted: status.observed and PredictionDrift (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from guide.domain import Plan
from guide.live.expect import Expected
from guide.live.learn import Corrections
from guide.live.measured import Observation
from guide.live.verdict import NAMES, Judgement, judge
from guide.report.document import key_of
from guide.search.assess import Running
from guide_operator import status as statuses
from guide_operator.reconcile import Decision
from guide_operator.status import Condition, Stamp

Object = dict[str, Any]

DRIFT = "PredictionDrift"
INSIDE, OUTSIDE, BRIEFLY = "InsideBand", "OutsideBand", "OutsideBandBriefly"
UNAVAILABLE, MISSING = "PrometheusUnavailable", "MetricsMissing"
MOVED = 0.05  # relative; smaller changes of a figure are not worth a write


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFinding:
    """What one look at Prometheus says of a plan; `observed` is None where nothing was seen."""

    generation: int
    condition: Condition
    observed: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None


def runs(plan: Mapping[str, Any]) -> bool:
    """Whether the newest generation of a plan has servers as its answer.

    A batch has none: its latencies are how long requests lay there, and nothing is learnt of it.
    """
    status = _status(plan)
    if plan["spec"]["workload"].get("offline"):
        return False
    current = status.get("observedGeneration") == plan["metadata"]["generation"]
    return current and "best" in status and _feasible(status)


def _status(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    status: Mapping[str, Any] | None = plan.get("status")
    return {} if status is None else status


def _feasible(status: Mapping[str, Any]) -> bool:
    return statuses.find(status, "Feasible").get("status") == "True"


def layout_of(status: Mapping[str, Any]) -> tuple[Running, ...]:
    """What runs: the applied layout, or else the recommended one."""
    groups = cast("list[Object]", (status.get("applied") or status["best"])["groups"])
    return tuple(
        Running(
            key=key_of(group),
            replicas=group["replicas"],
            load_share=float(group["loadShare"]),
        )
        for group in groups
    )


def blind(
    generation: int, reason: str, message: str, judgement: Judgement | None = None
) -> LiveFinding:
    """Nothing can be compared; the last figures stay, the last verdict does not."""
    message = f"{message}; the last good correction stays."
    condition = Condition(type=DRIFT, status=None, reason=reason, message=message)
    verdict = _document(judgement) if judgement else None
    return LiveFinding(generation=generation, condition=condition, verdict=verdict)


def compared(
    plan: Mapping[str, Any],
    question: Plan,
    found: Observation,
    expected: Expected,
    ledger: Corrections,
    *,
    replicas: int,
    learning: str,
    drift_s: float,
    now: str,
    age_s: Callable[[str], float],
) -> LiveFinding:
    """Predicted beside observed, for the load as it is. `replicas` should serve; `learning` says
    what is learnt from it, `age_s` how long ago a time was.
    """
    before: Object = _status(plan).get("observed", {})
    ratios = _ratios(found, expected)
    outside = {
        metric: ratio
        for metric, ratio in ratios.items()
        if abs(math.log(ratio)) > expected.half_width[metric]
    }
    since = str(before.get("outsideSince") or now) if outside else None
    if since is not None and age_s(since) < 0:  # a clock was set back
        since = now
    judgement = judge(
        question,
        found,
        replicas=replicas,
        off=outside,
        stable=expected.stable,
        hit_share=expected.planned_hit_share,
    )
    drifts = since is not None and age_s(since) >= drift_s
    condition = _drift(outside, since, judgement, drifts=drifts)
    observed = {
        "at": now,
        **{_camel(name): f"{value:.4g}" for name, value in found.known()},
        "predicted": {
            metric: {
                "meanSeconds": f"{getattr(expected, metric).mean_s:.4g}",
                "p95Seconds": f"{getattr(expected, metric).p95_s:.4g}",
                "observedOverPredicted": f"{ratio:.3f}",
            }
            for metric, ratio in ratios.items()
        },
        "corrections": {key: _correction(ledger, key) for key in expected.keys},
        "learning": learning,
        **({"outsideSince": since} if since else {}),
    }
    generation = plan["metadata"]["generation"]
    return LiveFinding(
        generation=generation,
        condition=condition,
        observed=observed,
        verdict=_document(judgement),
    )


def _document(judgement: Judgement) -> Object:
    return {
        "kind": judgement.verdict.value,
        "message": judgement.sentence,
        "missed": list(judgement.missed),
    }


def _ratios(found: Observation, expected: Expected) -> dict[str, float]:
    pairs = {
        "ttft": (found.ttft_mean_s, expected.ttft.mean_s),
        "tpot": (found.tpot_mean_s, expected.tpot.mean_s),
        "e2e": (found.e2e_mean_s, expected.e2e.mean_s),
    }
    return {metric: seen / told for metric, (seen, told) in pairs.items() if seen and told > 0}


def _correction(ledger: Corrections, key: str) -> Object:
    one = ledger.corrections.get(key)
    if one is None:
        return {"stepFactor": "1", "servingFactor": "1", "updates": 0}
    factors = {"stepFactor": one.step, "servingFactor": one.serving}
    return {**{k: f"{math.exp(v):.3f}" for k, v in factors.items()}, "updates": one.updates}


def _drift(
    outside: Mapping[str, float], since: str | None, judgement: Judgement, *, drifts: bool
) -> Condition:
    told = judgement.sentence
    if since is None:
        message = (
            f"{told} What pods do lies inside the 90 % interval of the prediction for their load."
        )
        return Condition(type=DRIFT, status=False, reason=INSIDE, message=message)
    apart = ", ".join(
        f"{NAMES[metric]} is {abs(ratio - 1):.0%} {'above' if ratio > 1 else 'below'}"
        for metric, ratio in outside.items()
    )
    message = f"{told} Since {since}: mean {apart} the prediction for the load as it is."
    reason = OUTSIDE if drifts else BRIEFLY
    return Condition(type=DRIFT, status=drifts, reason=reason, message=message)


def merged(
    decision: Decision, plan: Mapping[str, Any], finding: LiveFinding | None, now: str
) -> Decision:
    """`decision` with what was observed, or with what was observed before.

    A figure that moved a little changes nothing: a status is not a time series.
    """
    old = _status(plan)
    new = old if decision.status is None else decision.status
    if decision.refused or "conditions" not in new:
        return decision
    seen, condition = old.get("observed"), statuses.as_it_is(old, DRIFT)
    if finding is not None and finding.generation == plan["metadata"]["generation"]:
        told = condition is not None and condition.reason == finding.condition.reason
        now_seen = _with_verdict(finding, seen)
        if not (told and much_the_same(now_seen, seen)):
            seen, condition = now_seen, finding.condition
    if not _feasible(new):
        seen = condition = None
    if seen is None and condition is None:
        return decision
    rest = {key: value for key, value in new.items() if key != "observed"}
    previous = {**old, "conditions": old.get("conditions", [])}
    stamp = Stamp(generation=plan["metadata"]["generation"], now=now, previous=previous)
    status = statuses.with_conditions(
        {**rest, **({"observed": seen} if seen else {})}, [condition] if condition else [], stamp
    )
    return replace(decision, status=None if statuses.same(status, old) else status)


def _with_verdict(finding: LiveFinding, before: Mapping[str, Any] | None) -> Object | None:
    """The figures of the finding, or else the last ones, under the verdict of now."""
    figures = finding.observed or before
    kept = {key: value for key, value in (figures or {}).items() if key != "verdict"}
    return {**kept, **({"verdict": finding.verdict} if finding.verdict else {})} or None


def much_the_same(new: object, old: object) -> bool:
    """Whether every figure is within MOVED of what it was; times and sentences do not count."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        one, two = cast("Object", new), cast("Object", old)
        return one.keys() == two.keys() and all(
            key in ("at", "message") or much_the_same(one[key], two[key]) for key in one
        )
    try:
        a, b = float(cast("str", new)), float(cast("str", old))
    except (TypeError, ValueError):
        return new == old
    return math.isclose(a, b, rel_tol=MOVED, abs_tol=1e-9)


def _camel(name: str) -> str:
    """ttft_mean_s as ttftMeanSeconds, requests_per_s as requestsPerSecond."""
    unit = "second" if "_per_s" in name else "seconds"
    head, *tail = (f"{name[:-2]}_{unit}" if name.endswith("_s") else name).split("_")
    return head + "".join(word.capitalize() for word in tail)
