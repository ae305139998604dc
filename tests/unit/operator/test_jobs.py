"""A batch in mode Apply: what its Jobs say becomes conditions, and its GPUs are given back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from guide.cluster.client import ClusterClient
from guide.manifests.render import build_objects
from guide_operator import jobs, pods, reconcile
from guide_operator import layouts as apply
from guide_operator.cluster import ClusterState
from guide_operator.findings import runs
from guide_operator.following import Follower
from guide_operator.holdings import holder
from guide_operator.plan_metrics import METRICS
from guide_operator.reconcile import Observed
from guide_operator.rollout import apply_layout
from guide_operator.status import Condition, find
from tests.manifest_cases import BATCHES, CASES
from tests.unit.operator.test_holdings import CATALOG

CASE = replace(BATCHES["batch"], spec={**BATCHES["batch"].spec, "output": {"mode": "Apply"}})
BEST = CASE.recommendation.best
assert BEST is not None
NAMES = jobs.names(value for _, value in build_objects(CASE.plan, BEST))
QUIET = pods.Report(ready=True)


def job(name: str = NAMES[0], parts: int = 3, done: int = 0, **status: Any) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": "True", **more}
        for kind, more in status.pop("conditions", {}).items()
    ]
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": name, "ownerReferences": []},
        "spec": {"completions": parts},
        "status": {"succeeded": done, "conditions": conditions, **status},
    }


def complete(name: str = NAMES[0]) -> dict[str, Any]:
    times = {"startTime": "2026-11-28T01:00:00Z", "completionTime": "2026-11-28T03:30:00Z"}
    return job(name, done=3, conditions={"Complete": {}}, **times)


def failed(name: str = NAMES[0]) -> dict[str, Any]:
    why = {"reason": "FailedIndexes", "message": "Job has failed indexes"}
    return job(name, done=2, failedIndexes="1", conditions={"Failed": why})


def ready(said: list[Condition]) -> tuple[bool | None, str, str]:
    found = {one.type: one for one in said}
    assert found.keys() == {"Ready", "Reconciling", "Stalled"}
    return found["Ready"].status, found["Ready"].reason, found["Ready"].message


def stalled(said: list[Condition]) -> bool | None:
    return next(one.status for one in said if one.type == "Stalled")


def test_parts_that_are_done_are_counted_over_all_jobs():
    said = jobs.progress([job(done=1), job("other", parts=1, done=1)], QUIET)
    assert ready(said) == (False, "JobRunning", "2 of 4 parts done.")
    assert not stalled(said)


def test_the_end_says_how_long_it_took():
    said = jobs.progress([complete()], QUIET)
    assert ready(said) == (True, "JobComplete", "3 of 3 parts done in 2.5 h, starts included.")


def test_a_failure_is_told_in_the_words_of_the_job():
    said = jobs.progress([failed()], QUIET)
    assert stalled(said)
    told = f"Job {NAMES[0]}: Job has failed indexes (parts 1). 2 of 3 parts done."
    assert told in ready(said)[2]
    assert ready(said)[:2] == (False, "JobFailed")


def test_a_failure_beside_a_job_that_runs_is_no_end():
    said = jobs.progress([failed(), job("other")], QUIET)
    assert stalled(said)
    assert ready(said)[1] == "JobRunning"


@pytest.mark.parametrize("stuck", [True, False])
def test_pods_say_why_nothing_starts(stuck: bool):
    report = pods.Report(ready=False, stuck=stuck, message="Pod ml/x: no claim")
    said = jobs.progress([job()], report)
    assert "Pod ml/x: no claim" in ready(said)[2]
    assert stalled(said) is stuck


def status(ended: str | None = None, **more: Any) -> dict[str, Any]:
    assert BEST is not None
    applied = apply.record(BEST, None, 1, NAMES)
    if ended:
        applied["ended"] = ended
    condition = {"type": "Applied", "status": "True", "reason": "Applied", "message": ""}
    return {
        "observedGeneration": 1,
        "applied": applied,
        "conditions": [{**condition, "lastTransitionTime": "t", "observedGeneration": 1}],
        **more,
    }


def plan(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "nightly", "namespace": "ml", "generation": 1},
        "spec": {"output": {"mode": "Apply"}, "workload": {"offline": {"requests": 9}}, **spec},
    }


def test_a_batch_that_has_ended_holds_no_gpu():
    assert holder({**plan(), "status": status()}) is not None
    for ended in jobs.ENDED:
        assert holder({**plan(), "status": status(ended)}) is None
        assert not apply.holds(status(ended), status()["applied"])  # to run again it must ask
    assert apply.holds(status(), status()["applied"])


def test_other_jobs_on_the_same_gpus_are_reserved_anew():
    assert BEST is not None
    assert not apply.holds(status(), apply.record(BEST, None, 2, ["nightly-0-other"]))


class Cluster:
    """A client that holds objects by kind and name, and counts what is done to them."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self.found = {("Job", one["metadata"]["name"]): one for one in found}
        self.done: list[tuple[str, str, str]] = []

    def labelled(self, _: str, kind: str, __: str, labels: str) -> list[dict[str, Any]]:
        del labels
        return [one for (of, _), one in self.found.items() if of == kind]

    def apply(self, value: dict[str, Any], *, dry_run: bool, force: bool = False) -> dict[str, Any]:
        assert not force
        if not dry_run:
            self.done.append(("apply", value["kind"], value["metadata"]["name"]))
        return value

    def delete(self, _: str, kind: str, __: str, name: str, ___: str) -> None:
        self.done.append(("delete", kind, name))


def follow(cluster: Cluster, found: dict[str, Any], generation: int = 1) -> Any:
    follower = Follower(cast("ClusterClient", cluster), ClusterState(CATALOG), 900)
    observed = Observed(uid="u", generation=generation, status=found, config_map=None)
    return asyncio.run(follower.follow(CASE.plan, observed, "2026-11-28T05:00:00Z"))


def test_what_was_applied_is_followed_and_its_end_is_written():
    decision, _ = follow(Cluster(complete()), status())
    assert decision.status["applied"]["ended"] == "JobComplete"
    assert find(decision.status, "Ready")["status"] == "True"
    assert [event.reason for event in decision.events] == ["JobComplete"]
    again, _ = follow(Cluster(complete()), decision.status)
    assert again == reconcile.Decision()


def test_a_running_batch_is_written_once_for_each_part():
    first, _ = follow(Cluster(job(done=1)), status())
    assert "ended" not in first.status["applied"]
    same, _ = follow(Cluster(job(done=1)), first.status)
    assert same == reconcile.Decision()


def test_only_an_edit_or_a_job_that_is_gone_asks_again():
    assert follow(Cluster(), status()) is None
    assert follow(Cluster(job()), status(), generation=2) is None
    assert follow(Cluster(), status("JobFailed")) is None
    decision, _ = follow(Cluster(), status("JobComplete"))  # done is done
    assert decision == reconcile.Decision()


@pytest.mark.parametrize("found", [(), (complete(),), (failed(),)])
def test_jobs_of_a_former_generation_are_seen_to_end(found: tuple[dict[str, Any], ...]):
    follower = Follower(cast("ClusterClient", Cluster(*found)), ClusterState(CATALOG), 900)
    observed = Observed(uid="u", generation=2, status=status(), config_map=None)
    after = asyncio.run(follower.with_former(CASE.plan, observed))
    assert jobs.ended(after.status)


def test_a_batch_is_applied_in_place_of_what_was_there():
    assert BEST is not None
    old = {**job("nightly-0-old")}
    old["metadata"]["ownerReferences"] = [{"uid": "u"}]
    cluster = Cluster(old)
    said = apply_layout(cast("ClusterClient", cluster), CASE.plan, BEST, "u", rehearsal=False)
    assert cluster.done == [("apply", "Job", NAMES[0]), ("delete", "Job", "nightly-0-old")]
    assert {one.type: one.reason for one in said}["Ready"] == "JobRunning"


def test_servers_take_the_place_of_a_batch_at_once():
    case = CASES["vllm"]
    best = case.recommendation.best
    assert best is not None
    old = {**job("chat-0-old")}
    old["metadata"]["ownerReferences"] = [{"uid": "u"}]
    cluster = Cluster(old)
    apply_layout(cast("ClusterClient", cluster), case.plan, best, "u", rehearsal=False)
    assert ("delete", "Job", "chat-0-old") in cluster.done


def test_nothing_is_learnt_of_a_batch():
    answered = status(best={}, conditions=[{"type": "Feasible", "status": "True"}])
    assert not runs({**plan(), "status": answered})
    assert runs({**plan(workload={"concurrency": 3}), "status": answered})


def test_a_batch_has_the_metrics_of_a_batch():
    from guide.report.status import to_status  # its numbers are texts, as the API keeps them

    found = {**plan(model={"name": "m"}), "status": to_status(CASE.recommendation)}
    rows = {row.name: list(row.samples(found)) for row in METRICS}
    seconds = {labels[-1]: value for labels, value in rows["guide_predicted_job_seconds"]}
    assert seconds == {"estimate": 3000, "lower": 2500, "upper": 3600}
    assert [value for _, value in rows["guide_plan_cost_usd_per_job"]] == [14.95]
    assert not rows["guide_predicted_ttft_seconds"]
    assert ("ml", "nightly", "requests") in {labels for labels, _ in rows["guide_planned_load"]}


@pytest.mark.parametrize(
    "profile", [{"low": 1, "mean": 2, "peak": "7.5"}, {"requestsPerSecond": [1, "7.5", 0]}]
)
def test_the_planned_load_of_a_day_is_its_peak(profile: dict[str, Any]):
    day = {"dayProfile": profile, "inputTokens": {"mean": 9}}
    found = {**plan(workload=day), "status": status(best={}, summary={})}
    (rows,) = (list(row.samples(found)) for row in METRICS if row.name == "guide_planned_load")
    assert (("ml", "nightly", "requests_per_second"), 7.5) in rows


def test_what_servers_tell_of_their_start_is_exported_as_predicted():
    from guide.report.status import to_status

    names = ("guide_predicted_weight_bytes", "guide_predicted_kv_cache_tokens")
    rows = [next(row for row in METRICS if row.name == name) for name in names]
    found = {**plan(model={"name": "m"}), "status": to_status(CASE.recommendation)}
    (group,) = found["status"]["best"]["groups"]
    (weights,), (tokens,) = (list(row.samples(found)) for row in rows)
    assert weights == (("ml", "nightly"), float(group["memory"]["weightGiBPerGPU"]) * 2**30)
    assert tokens == (("ml", "nightly"), group["memory"]["kvCapacityTokens"])
    found["status"]["best"]["groups"] *= 2  # of a mix, no pod is the typical one
    assert [list(row.samples(found)) for row in rows] == [[], []]


def test_pods_of_jobs_are_the_plans_own_and_ended_ones_are_no_trouble():
    owner = [{"kind": "Job", "controller": True}]
    pod = {
        "metadata": {"labels": {"guide.dev/plan": "nightly"}, "ownerReferences": owner},
        "spec": {},
        "status": {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "no claim",
                }
            ],
        },
    }
    managed = pods.ManagedPods()
    assert managed.set(("ml", "nightly-0-x-0"), pod) == ("ml", "nightly")
    assert "no claim" in managed.report(("ml", "nightly")).message
    managed.set(("ml", "nightly-0-x-0"), {**pod, "status": {"phase": "Failed"}})
    assert managed.report(("ml", "nightly")) == QUIET
