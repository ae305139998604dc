"""Mode Apply for an offline batch: Jobs that are applied once and then followed (pure).

What was applied for a generation of its plan is never chosen again, whatever is learnt or priced
meanwhile: a batch that starts anew loses its work. Its GPUs are its own until every Job has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from guide.spec import InferencePlan
from guide.units import format_duration
from guide_operator import pods
from guide_operator import status as statuses
from guide_operator.status import Condition

Object = dict[str, Any]

RUNNING, COMPLETE, FAILED = "JobRunning", "JobComplete", "JobFailed"
ENDED = (COMPLETE, FAILED)  # of `status.applied.ended`


def is_batch(plan: InferencePlan) -> bool:
    """Whether a plan asks for a batch and not for servers."""
    return plan.spec.workload.offline is not None


def names(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Jobs among objects, by name."""
    return sorted(value["metadata"]["name"] for value in objects if value["kind"] == "Job")


def applied_for(status: Mapping[str, Any], generation: int) -> tuple[str, ...]:
    """The Jobs that were applied for this very generation of a plan; none before they were."""
    applied: Object = status.get("applied", {})
    done = statuses.find(status, "Applied").get("status") == "True"
    answered = status.get("observedGeneration") == applied.get("generation") == generation
    return tuple(applied.get("jobs", ())) if done and answered else ()


def ended(status: Mapping[str, Any]) -> bool:
    """Whether a status tells of a batch that holds no GPU any more."""
    return status.get("applied", {}).get("ended") in ENDED


def with_end(applied: Mapping[str, Any], conditions: Sequence[Condition]) -> Object:
    """`applied` with the end of the batch, once `conditions` tell that every Job has ended."""
    reason = next(one.reason for one in conditions if one.type == "Ready")
    rest = {key: value for key, value in applied.items() if key != "ended"}
    return {**rest, "ended": reason} if reason in ENDED else rest


def progress(jobs: Sequence[Mapping[str, Any]], report: pods.Report) -> list[Condition]:
    """Ready, Reconciling and Stalled by what Jobs and the `report` of their pods say."""
    parts = sum(job["spec"].get("completions", 1) for job in jobs)
    done = sum(job.get("status", {}).get("succeeded", 0) for job in jobs)
    failed = [why for job in jobs if (why := _failure(job))]
    going = [job for job in jobs if not _is(job, "Complete") and not _failure(job)]
    told = f"{done} of {parts} parts done"
    if failed:
        reason = RUNNING if going else FAILED
        remedy = "Mend the cause, then delete the Job: it is made anew."
        return statuses.unready(reason, f"{' '.join(failed)} {told}. {remedy}", stalled=True)
    if not going:
        return statuses.available(f"{told}{_time(jobs)}.", COMPLETE)
    if report.message and report.stuck:
        return statuses.unready(pods.NOT_STARTING, f"{report.message}; {told}.", stalled=True)
    waits = f"; {report.message}" if report.message else ""
    return statuses.unready(RUNNING, f"{told}{waits}.", stalled=False)


def _failure(job: Mapping[str, Any]) -> str:
    """The Job's own words; empty where it has not failed."""
    found = _is(job, "Failed")
    if not found:
        return ""
    name, which = job["metadata"]["name"], job.get("status", {}).get("failedIndexes")
    parts = f" (parts {which})" if which else ""
    return f"Job {name}: {found.get('message') or found.get('reason') or 'it failed'}{parts}."


def _is(job: Mapping[str, Any], kind: str) -> Object:
    conditions = cast("list[Object]", job.get("status", {}).get("conditions", []))
    nothing: Object = {}
    return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), nothing)


def _time(jobs: Sequence[Mapping[str, Any]]) -> str:
    """From the first start to the last answer, loading of the model included."""
    began = [job["status"].get("startTime") for job in jobs]
    until = [job["status"].get("completionTime") for job in jobs]
    if not all(began) or not all(until):
        return ""
    lasted = max(map(datetime.fromisoformat, until)) - min(map(datetime.fromisoformat, began))
    return f" in {format_duration(lasted.total_seconds())}, starts included"
