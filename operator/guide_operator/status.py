"""The status of a plan in the words of kubectl, Flux and Argo CD (pure).

kstatus reads `Ready`, `Reconciling`, `Stalled` and `observedGeneration`; all conditions are always
present, so that a reader never has to guess what an absent one means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from guide.domain import Recommendation
from guide.errors import cut
from guide.report.reasons import split_unready
from guide.report.sentences import addition, outcome
from guide.report.status import nearest_misses, to_status

Status = dict[str, Any]

RECOMMENDED = "Recommended"
INFEASIBLE = "NoFeasibleConfiguration"
INVALID_SPEC = "InvalidSpec"
NAME_TAKEN = "NameTaken"
CONFLICT = "Conflict"
INTERNAL_ERROR = "InternalError"
TOOK_TOO_LONG = "TookTooLong"

_SHOWN_RELAXATIONS = 3
_IDLE = "The answer to this generation is written."
_CLEAR = "Nothing is in the way."


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One aspect of the state; ``status`` is True, False or None for Unknown."""

    type: str
    status: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the conditions of one status have in common."""

    generation: int
    now: str  # RFC 3339
    previous: Mapping[str, Any]  # the status as it is in the cluster


def answered(
    recommendation: Recommendation,
    inputs: str,
    stamp: Stamp,
    *,
    more: Iterable[Condition] = (),
    applied: Mapping[str, Any] | None = None,
    held: str = "",
) -> Status:
    """The status that follows from an answer; `inputs` is the digest of the question.

    `more` adds conditions, or replaces those of the same type. `applied` is the layout that mode
    Apply has put there; by default what the status says already. `held` says who has the GPUs that
    are lacking.
    """
    status = to_status(recommendation)
    status["engine"]["inputsDigest"] = inputs
    layout = applied or stamp.previous.get("applied")
    if layout is not None:
        status["applied"] = layout
    return _with_conditions(status, [*verdict(recommendation, held), *more], stamp)


def refused(reason: str, message: str, stamp: Stamp, *, stalled: bool = True) -> Status:
    """The status of a plan that has no answer; the last good result stays beside it.

    `stalled` says that only a person can mend it; otherwise the operator tries again.
    """
    kept = {
        key: value
        for key, value in stamp.previous.items()
        if key not in {"conditions", "observedGeneration"}
    }
    applied = as_it_is(stamp.previous, "Applied")  # what was applied is still there
    conditions = [
        *([applied] if applied else []),
        Condition(type="Ready", status=False, reason=reason, message=message),
        Condition(type="Reconciling", status=not stalled, reason=reason, message=message),
        Condition(type="Stalled", status=stalled, reason=reason, message=message),
        Condition(type="Feasible", status=None, reason=reason, message="There is no answer yet."),
    ]
    return _with_conditions(kept, conditions, stamp)


def reserved(layout: Mapping[str, Any], stamp: Stamp, conditions: Iterable[Condition]) -> Status:
    """The status of a plan that has chosen a layout and did not apply it yet: it holds its GPUs.

    The last answer stays beside it, and the generation is not answered by this.
    """
    return with_conditions({**stamp.previous, "applied": dict(layout)}, conditions, stamp)


def available(message: str, reason: str = RECOMMENDED) -> list[Condition]:
    """The conditions of a plan whose Deployments are available, or whose batch is done."""
    return [
        Condition(type="Ready", status=True, reason=reason, message=message),
        Condition(type="Reconciling", status=False, reason=reason, message=_IDLE),
        Condition(type="Stalled", status=False, reason=reason, message=_CLEAR),
    ]


def unready(reason: str, message: str, *, stalled: bool) -> list[Condition]:
    """The conditions of a plan whose Deployments are not available, or cannot be applied."""
    return [
        Condition(type="Ready", status=False, reason=reason, message=message),
        Condition(type="Reconciling", status=not stalled, reason=reason, message=message),
        Condition(type="Stalled", status=stalled, reason=reason, message=message),
    ]


def progressed(more: Iterable[Condition], stamp: Stamp) -> Status:
    """The previous status with some conditions replaced."""
    return with_conditions(stamp.previous, more, stamp)


def with_conditions(status: Mapping[str, Any], more: Iterable[Condition], stamp: Stamp) -> Status:
    """`status` with some conditions added or replaced."""
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    conditions |= {condition.type: _condition(condition, stamp) for condition in more}
    return {**status, "conditions": [conditions[kind] for kind in sorted(conditions)]}


def as_it_is(status: Mapping[str, Any], kind: str) -> Condition | None:
    """The condition of type `kind` as it was written, to be written again; None without one."""
    found = find(status, kind)
    if not found:
        return None
    state = {"True": True, "False": False}.get(found["status"])
    return Condition(type=kind, status=state, reason=found["reason"], message=found["message"])


def find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of type `kind`, or an empty mapping."""
    conditions = cast("list[Mapping[str, Any]]", status.get("conditions", []))
    nothing: dict[str, Any] = {}
    return next((c for c in conditions if c.get("type") == kind), nothing)


def same(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether writing `new` over `old` would change anything."""
    return dict(new) == dict(old)


def verdict(r: Recommendation, held: str = "") -> list[Condition]:
    """The conditions that say whether there is an answer."""
    reason = RECOMMENDED if r.feasible else INFEASIBLE
    message = outcome(r) if r.feasible else infeasible(r, held)
    feasible = Condition(type="Feasible", status=r.feasible, reason=reason, message=message)
    if r.feasible:
        return [*available(message), feasible]
    return [
        Condition(type="Ready", status=False, reason=reason, message=message),
        Condition(type="Reconciling", status=False, reason=reason, message=_IDLE),
        Condition(type="Stalled", status=True, reason=reason, message=message),
        feasible,
    ]


def infeasible(r: Recommendation, held: str = "") -> str:
    """Why there is no answer, who has the GPUs, the nearest miss, and which single changes would
    help.
    """
    parts = [outcome(r), *([held] if held else [])]
    nearest = nearest_misses(split_unready(r)[0])[:1]
    parts += [f"Nearest miss: {item.reason.value}, {item.detail}." for item in nearest]
    if r.relaxations:
        changes = " or ".join(
            f"{item.field} {item.needed:g}" for item in r.relaxations[:_SHOWN_RELAXATIONS]
        )
        parts.append(f"It would be feasible with {changes}.")
    parts += [f"What to add: {addition(item)}." for item in r.additions[:1]]
    return " ".join(parts)


def _with_conditions(status: Status, conditions: list[Condition], stamp: Stamp) -> Status:
    by_type = {condition.type: condition for condition in conditions}  # the last one wins
    written = [_condition(by_type[kind], stamp) for kind in sorted(by_type)]
    return {**status, "conditions": written, "observedGeneration": stamp.generation}


def _condition(condition: Condition, stamp: Stamp) -> dict[str, Any]:
    status = {True: "True", False: "False", None: "Unknown"}[condition.status]
    before = find(stamp.previous, condition.type)
    changed = before.get("status") != status
    return {
        "type": condition.type,
        "status": status,
        "reason": condition.reason,
        "message": cut(condition.message),
        "observedGeneration": stamp.generation,
        "lastTransitionTime": stamp.now if changed else before["lastTransitionTime"],
    }
