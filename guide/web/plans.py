"""InferencePlans of the cluster as the plans page shows them; every value is the operator's.

A status is read guardedly: another version of the operator may have written it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from guide.cluster.client import connect
from guide.cluster.json_values import mapping, sequence
from guide.cluster.refusals import NotFound
from guide.domain import Relaxation
from guide.errors import ClusterError, SpecError
from guide.record import Record
from guide.report.tables import Table
from guide.spec.resolve import parse_plan
from guide.units import format_usd
from guide.web.asking import form_of
from guide.web.nodes import FRESH_S
from guide.web.observed import (
    as_it_is,
    limit_s,
    missed,
    number,
    predicted,
    service,
    time_of,
    verdict,
)
from guide.web.state import State
from guide.web.view import Relax, relax

Object = Mapping[str, Any]
# Condition -> its question, in the order in which people ask.
ASPECTS = {
    "Ready": "Is it answered, and in place?",
    "Feasible": "Does any deployment keep every limit?",
    "Stalled": "Must a person act?",
    "Reconciling": "Is the operator at work on it?",
    "Applied": "Has mode Apply deployed it?",
    "BetterPlanAvailable": "Is a cheaper deployment known?",
    "PredictionDrift": "Do its pods leave the predicted band?",
}
_ORDER = ("no", "warn", "wait", "yes")  # what needs a look comes first


class Standing(Record, frozen=True, kw_only=True):
    """How a plan stands; `kind` is a class of the style sheet."""

    kind: str
    words: str


class PlanRow(Record, frozen=True, kw_only=True):
    """A plan in the list."""

    namespace: str
    name: str
    path: str
    standing: Standing
    model: str
    layout: str
    cost: str
    predicted: str
    observed: str
    limit: str
    missed: tuple[str, ...]


class Aspect(Record, frozen=True, kw_only=True):
    """A condition in words."""

    question: str
    answer: str
    message: str
    since: str


class Detail(Record, frozen=True, kw_only=True):
    """One plan with what its status says."""

    row: PlanRow
    sentence: str
    aspects: tuple[Aspect, ...]
    verdict: str
    service: Table
    observed_at: str
    notes: tuple[str, ...]
    query: str  # of the form; empty where the plan cannot be read
    query_now: str  # the same for the load that was observed; empty where that is not known
    relaxations: tuple[Relax, ...]
    left_out: tuple[str, ...]  # fields of the plan that the form does not have
    problem: str  # why it cannot be read


def listed() -> tuple[Object, ...]:
    """All InferencePlans of the cluster, read at most `FRESH_S` ago; `ClusterError`."""
    return _listed(int(time.monotonic() // FRESH_S))


@lru_cache(maxsize=1)
def _listed(period: int) -> tuple[Object, ...]:
    del period  # only tells one reading from the next
    try:
        return tuple(connect().plans())
    except NotFound:
        raise ClusterError(
            "this cluster knows no InferencePlan: install the chart, or crds/inferenceplans.yaml"
        ) from None


def read_anew() -> None:
    """Forget the last reading: a plan was created."""
    _listed.cache_clear()


def rows(plans: Sequence[Object]) -> list[PlanRow]:
    """Plans for the list: those that need a look first, then by namespace and name."""
    found = [_row(plan) for plan in plans]
    return sorted(found, key=lambda r: (_ORDER.index(r.standing.kind), r.namespace, r.name))


def find(plans: Sequence[Object], namespace: str, name: str) -> Object | None:
    """The plan of that name, if there is one."""
    wanted = (namespace, name)
    metas = ((plan, mapping(plan.get("metadata"))) for plan in plans)
    return next((p for p, m in metas if (m.get("namespace"), m.get("name")) == wanted), None)


def _row(plan: Object) -> PlanRow:
    meta, spec, status = (mapping(plan.get(key)) for key in ("metadata", "spec", "status"))
    namespace, name = str(meta.get("namespace")), str(meta.get("name"))
    summary = mapping(status.get("summary"))
    usd = number(summary.get("hourlyUSD"))
    seen = mapping(status.get("observed"))
    return PlanRow(
        namespace=namespace,
        name=name,
        path=f"/plans/{quote(namespace, safe='')}/{quote(name, safe='')}",
        standing=standing(plan),
        model=str(mapping(spec.get("model")).get("name")),
        layout=_layout(summary),
        cost="–" if usd is None else f"{format_usd(usd)}/h",
        predicted=time_of(predicted(status, "ttft").get("p95")),
        observed=time_of(seen.get("ttftP95Seconds")),
        limit=time_of(limit_s(plan, "ttft")),
        missed=missed(plan),
    )


_MORE = {"attentionDp": "DP", "ep": "EP"}


def _layout(summary: Object) -> str:
    if not summary:
        return "–"
    pipeline = summary.get("pp", 1)
    spread = f"TP {summary.get('tp')}" + (f" x PP {pipeline}" if pipeline != 1 else "")
    spread += "".join(
        f" x {name} {summary[field]}" for field, name in _MORE.items() if summary.get(field, 1) != 1
    )
    return f"{summary.get('replicas')} x {summary.get('gpu')} {spread}, {summary.get('framework')}"


def standing(plan: Object) -> Standing:
    """How a plan stands, from the conditions that the operator keeps."""
    meta, status = mapping(plan.get("metadata")), mapping(plan.get("status"))
    state = {kind: c.get("status") for kind, c in _conditions(status).items()}
    if not state:
        return Standing(kind="wait", words="not answered yet")
    if status.get("observedGeneration") != meta.get("generation"):
        return Standing(kind="wait", words="changed, not answered yet")
    if state.get("Stalled") == "True":
        infeasible = state.get("Feasible") == "False"
        return Standing(kind="no", words="infeasible" if infeasible else "needs a person")
    if state.get("Ready") != "True":
        return Standing(kind="wait", words="in progress")
    if missed(plan):
        return Standing(kind="no", words="misses a limit")
    if state.get("PredictionDrift") == "True":
        return Standing(kind="warn", words="drifts")
    return Standing(kind="yes", words="ready")


def _conditions(status: Object) -> dict[str, Object]:
    found = map(mapping, sequence(status.get("conditions")))
    return {str(condition.get("type")): condition for condition in found}


def detail(plan: Object) -> Detail:
    """One plan in full."""
    status = mapping(plan.get("status"))
    conditions = _conditions(status)
    query, query_now, left_out, relaxations, problem = "", "", (), (), ""
    try:
        form, left_out = form_of(parse_plan(plan))
        form = replace(form, source="cluster")
        query, relaxations = form.query, _relaxations(replace(form, ask=True), status)
        now = as_it_is(replace(form, ask=True), plan)
        query_now = now.query if now else ""
    except SpecError as error:
        problem = str(error)
    feasible = conditions.get("Feasible", {})
    return Detail(
        row=_row(plan),
        sentence=str(feasible.get("message", "The operator has not answered this plan yet.")),
        aspects=tuple(
            _aspect(kind, conditions[kind])
            for kind in dict.fromkeys((*ASPECTS, *conditions))
            if kind in conditions
        ),
        verdict=verdict(plan),
        service=service(plan),
        observed_at=_when(mapping(status.get("observed")).get("at")),
        notes=tuple(map(str, sequence(status.get("notes")))),
        query=query,
        query_now=query_now,
        relaxations=relaxations,
        left_out=left_out,
        problem=problem,
    )


def _relaxations(form: State, status: Object) -> tuple[Relax, ...]:
    """Single changes that the operator found to help, each as a question."""
    found: list[Relax] = []
    for item in map(mapping, sequence(status.get("relaxations"))):
        now, needed = number(item.get("from")), number(item.get("to"))
        if now is not None and needed is not None:
            change = Relaxation(field=str(item.get("field")), current=now, needed=needed)
            link = relax(form, [change])
            found += [link] if link else []
    return tuple(found)


def _aspect(kind: str, condition: Object) -> Aspect:
    return Aspect(
        question=ASPECTS.get(kind, kind),
        answer={"True": "yes", "False": "no"}.get(str(condition.get("status")), "unknown"),
        message=str(condition.get("message", "")),
        since=_when(condition.get("lastTransitionTime")),
    )


def _when(value: object) -> str:
    """An RFC 3339 time as people write it; empty where there is none."""
    return str(value or "").replace("T", " ").replace("Z", " UTC")
