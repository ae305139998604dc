"""Follows the Jobs of a batch by what the cluster says of them; applies and asks nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from guide.cluster.client import ClusterClient
from guide.manifests.names import object_name
from guide.spec import InferencePlan
from guide_operator import jobs, reconcile, releasing
from guide_operator import status as statuses
from guide_operator.cluster import ClusterState
from guide_operator.pods import Report
from guide_operator.reconcile import Decision, Observed
from guide_operator.rollout import jobs_of
from guide_operator.status import Condition, Stamp


class Follower:
    """Looks at the Jobs of plans."""

    def __init__(self, client: ClusterClient, cluster: ClusterState, release_s: float) -> None:
        self._client = client
        self._cluster = cluster
        self._release_s = release_s

    async def follow(
        self,
        plan: InferencePlan,
        observed: Observed,
        now: str,
    ) -> tuple[Decision, Sequence[Condition]] | None:
        """How far the batch of a plan has come; None when its Jobs must be applied (again).

        One that is complete is done for its generation, also where somebody tidied its Jobs up.
        """
        status = observed.status
        names = jobs.applied_for(status, observed.generation)
        if not names or plan.spec.output.mode != "Apply":
            return None
        if status["applied"].get("ended") == jobs.COMPLETE:
            return Decision(), ()
        more = await self._progress(plan, names)
        if more is None:
            return None
        applied = jobs.with_end(status["applied"], more)
        applied, more = releasing.judged(applied, applied, more, now, self._release_s)
        stamp = Stamp(generation=observed.generation, now=now, previous=status)
        new = {**statuses.progressed(more, stamp), "applied": applied}
        if statuses.same(new, status):
            return Decision(), more
        return Decision(status=new, events=reconcile.job_events(new, status)), more

    async def with_former(self, plan: InferencePlan, observed: Observed) -> Observed:
        """`observed`, and whether the Jobs of a former generation have ended, which run on while
        there is no answer to this one.
        """
        applied = observed.status.get("applied", {})
        if not applied.get("jobs") or jobs.ended(observed.status):
            return observed
        more = await self._progress(plan, applied["jobs"]) or statuses.available("", jobs.COMPLETE)
        status = {**observed.status, "applied": jobs.with_end(applied, more)}
        return replace(observed, status=status)

    def report(self, plan: InferencePlan) -> Report:
        """How the pods of a plan are."""
        metadata = plan.metadata
        return self._cluster.managed.report((metadata.namespace, object_name(metadata.name)))

    async def _progress(self, plan: InferencePlan, names: Sequence[str]) -> list[Condition] | None:
        found = await asyncio.to_thread(jobs_of, self._client, plan)
        if not found.keys() >= {*names}:
            return None
        return jobs.progress([found[name] for name in names], self.report(plan))
