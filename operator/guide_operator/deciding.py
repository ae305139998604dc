"""What an attempt at a plan comes to: look, ask the engine, decide. Nothing is written here but the
objects of mode Apply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from guide.cluster.client import ClusterClient, Stale
from guide.domain import Catalog, Recommendation
from guide.errors import SpecError
from guide.manifests.render import build_objects
from guide.search.assess import Running
from guide.spec import parse_plan
from guide_operator import jobs, pods, reconcile, releasing
from guide_operator import layouts as apply
from guide_operator import status as statuses
from guide_operator.asking import LOOK_AGAIN_S, Asked, Asker, observed_of, time_now
from guide_operator.cluster import ClusterState
from guide_operator.engine import Answer, Engine
from guide_operator.following import Follower
from guide_operator.metrics import Metrics
from guide_operator.permissions import NotPermitted, Permissions
from guide_operator.reconcile import Decision
from guide_operator.rollout import REFUSALS, apply_layout, progress
from guide_operator.settings import Settings
from guide_operator.status import Condition, Stamp
from guide_operator.work import Object, Turns, Work

_POLL_S = 3.0  # Deployments are not watched: that would need rights in every namespace
_POLL_STUCK_S = 15.0  # where only a Deployment tells that its pods can be made again
_MOST_LOOKS = 8  # at once, of thousands that a change wakes: each reads its plan and ConfigMap


class Decider:
    """Decisions on plans; `settle` is called before a plan may take GPUs, so that older plans have
    seen what has changed as well.
    """

    def __init__(
        self,
        settings: Settings,
        client: ClusterClient,
        catalog: Catalog,
        engine: Engine,
        metrics: Metrics,
        cluster: ClusterState,
        settle: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._engine = engine
        self.asker = Asker(client, catalog, engine, cluster)
        self._metrics = metrics
        self._cluster = cluster
        self._settle = settle
        self._permissions = Permissions(settings.deployment_fields, client)
        self._follower = Follower(client, cluster, settings.release_s)
        self.turns = Turns()
        self._looks = asyncio.Semaphore(_MOST_LOOKS)

    async def decide(self, work: Work, plan: Object, *, asked: bool) -> Decision:
        """What to write for `plan`. Raises `ClusterError` when trying again may help."""
        async with self._looks:  # let go before it waits for the engine or for its turn
            found = await self._look(work, plan, asked=asked)
        if isinstance(found, Decision):
            return found
        if found.written.spec.output.mode == "Apply":
            return await self._apply(work, found)
        return await self._recommend(work, found)

    async def _look(self, work: Work, plan: Object, *, asked: bool) -> Decision | Asked:
        """What is left to be asked, if anything."""
        now, observed = time_now(), observed_of(plan)
        try:
            written = parse_plan(plan)
            await self._permissions.check(written)
            if followed := await self._follower.follow(written, observed, now):
                self._poll(work, followed[1])
                return followed[0]
            one = await self.asker.asked(work, written, observed, now, asked=asked)
        except SpecError as error:
            if isinstance(error, NotPermitted):
                work.look_again_s = LOOK_AGAIN_S
            self._metrics.errors.labels(statuses.INVALID_SPEC).inc()
            return reconcile.refuse(statuses.INVALID_SPEC, str(error), observed, now)
        if one.settled:
            if written.spec.output.mode == "Apply":
                found = None if asked else await self._progress(work, one)
            else:
                found = Decision() if not asked or await self.asker.intact(one) else None
            if found is not None:
                return found
        return one

    async def _answer(self, work: Work, one: Asked, running: tuple[Running, ...]) -> Answer:
        """What the engine says, unless the plan is edited first: then nobody waits for it."""
        if work.plan["metadata"]["generation"] != one.observed.generation:
            raise Stale("the plan was edited before it was asked")
        edited = work.edited = asyncio.get_running_loop().create_future()
        answering = asyncio.ensure_future(
            self._engine.answer(
                one.question,
                one.inventory,
                running,
                digest=one.inputs,
                routine=not one.asked,
                namespace=one.key[0],
            )
        )
        try:
            await asyncio.wait({answering, edited}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise Stale("the plan was edited while it was answered")
            return answering.result()
        finally:
            answering.cancel()
            work.edited = None

    def _result(
        self,
        one: Asked,
        answer: Recommendation,
        more: Iterable[Condition] = (),
        applied: Mapping[str, Any] | None = None,
    ) -> Decision:
        held = ""
        if not answer.feasible:
            hide = self._settings.hide_other_tenants
            held = self._cluster.held_by_others(one.question, answer, *one.key, hide=hide)
        return reconcile.decide(
            one.written,
            answer,
            self.asker.catalog(one.key[0]),
            one.observed,
            inputs=one.inputs,
            now=one.now,
            more=tuple(more),
            applied=applied,
            held=held,
        )

    # --- mode Recommend --------------------------------------------------------------------------

    async def _recommend(self, work: Work, one: Asked) -> Decision:
        answer = await self._answer(work, one, ())
        # not before: thousands may wait, each with its ConfigMap
        one = await self.asker.observe(one)
        return self._result(one, answer.recommendation)

    # --- mode Apply ------------------------------------------------------------------------------

    async def _apply(self, work: Work, one: Asked) -> Decision:
        """Apply what is to run once its GPUs are reserved, and say how far that has come.

        From reading the inventory until the reservation is written it is this plan's turn.
        """
        one = await self.asker.observe(one)
        self._settle()
        await self.turns.come(one.key)
        one = self.asker.again(one)
        batch = jobs.is_batch(one.written) or one.observed.status.get("applied", {}).get("jobs")
        running = () if batch else apply.running(one.observed.status)
        answer = await self._answer(work, one, running)
        return await self._act(work, one, answer)

    async def _act(self, work: Work, one: Asked, answer: Answer) -> Decision:
        status, uid = one.observed.status, one.observed.uid
        since = status.get("applied", {}).get("betterSince")
        chosen = apply.choose(
            answer.recommendation,
            answer.running,
            since,
            releasing.seconds_since(since, one.now),
            one.now,
            edited=apply.edited(status, one.observed.generation),
        )
        best = chosen.recommendation.best
        if best is None:  # what runs, if anything, is left alone
            idle = apply.idle(chosen.recommendation)
            observed = await self._follower.with_former(one.written, one.observed)
            one = replace(one, observed=apply.without_reservation(observed))
            return self._result(one, chosen.recommendation, idle)
        if (refusal := self._result(one, chosen.recommendation)).refused:
            return refusal
        begun: list[str] = []
        if jobs.is_batch(one.written):
            begun = jobs.names(value for _, value in build_objects(one.written, best))
        layout = apply.record(best, chosen.better_since, one.observed.generation, begun)
        arguments = (apply_layout, self._client, one.written, best, uid)
        if not apply.holds(status, layout):
            refused = await asyncio.to_thread(*arguments, rehearsal=True)
            if not refused:
                stamp = Stamp(generation=one.observed.generation, now=one.now, previous=status)
                reserved = statuses.reserved(layout, stamp, apply.reservation(best))
                return Decision(status=reserved, again=True)
            self._poll(work, refused)
            more = [*refused, chosen.better]
            return self._result(one, chosen.recommendation, more)
        self.turns.leave(one.key, keep_place=work.changed.is_set())
        more = self._explained(one, await asyncio.to_thread(*arguments, rehearsal=False))
        self._poll(work, more)
        layout = jobs.with_end(layout, more) if begun else layout
        layout, more = self._released(one, layout, more)
        more = [*more, chosen.better]
        return self._result(one, chosen.recommendation, more, layout)

    async def _progress(self, work: Work, one: Asked) -> Decision | None:
        """How far the applied Deployments have come; None when they must be applied again."""
        observed = one.observed
        groups = len(apply.running(observed.status))
        applied = statuses.find(observed.status, "Applied")
        if applied.get("status") != "True" or not groups:
            # what was in the way may be gone, as the message told a person to do
            return None if applied.get("reason") in REFUSALS else Decision()
        waiting = await asyncio.to_thread(progress, self._client, one.written, groups)
        if waiting is None:
            return None
        waiting = self._explained(one, waiting)
        ready = statuses.find(observed.status, "Feasible")["message"]
        more = waiting or statuses.available(ready)
        if not waiting and statuses.find(observed.status, "Ready").get("status") != "True":
            return None  # just became available: apply once more, which removes what was replaced
        self._poll(work, more)
        if not waiting and not self._follower.report(one.written).ready:
            work.poll_s = _POLL_S  # pods tell first, their Deployment soon
        layout, more = self._released(one, observed.status["applied"], more)
        stamp = Stamp(generation=observed.generation, now=one.now, previous=observed.status)
        status = {**statuses.progressed(more, stamp), "applied": layout}
        if statuses.same(status, observed.status):
            return Decision()
        return Decision(status=status, events=reconcile.pod_events(status, observed.status))

    def _explained(self, one: Asked, said: Sequence[Condition]) -> list[Condition]:
        """What Deployments say of a rollout, with the words of the plan's pods."""
        return apply.explained(said, self._follower.report(one.written))

    def _released(
        self, one: Asked, applied: Mapping[str, Any], more: Sequence[Condition]
    ) -> tuple[dict[str, Any], list[Condition]]:
        """Whether GPUs that no pod takes are given back, where their pods do not start."""
        before = one.observed.status.get("applied", {})
        return releasing.judged(applied, before, more, one.now, self._settings.release_s)

    def _poll(self, work: Work, conditions: Iterable[Condition]) -> None:
        """Look again soon while a rollout goes on, later where something is in the way."""
        for condition in conditions:
            if condition.type == "Reconciling" and condition.status:
                work.poll_s = _POLL_S
                if condition.reason == jobs.RUNNING:  # for hours, and pods tell when they end
                    work.poll_s = _POLL_STUCK_S
            elif condition.type == "Stalled" and condition.status:
                if condition.reason in (apply.ROLLOUT_STALLED, pods.NOT_STARTING):
                    work.poll_s = _POLL_STUCK_S
                work.look_again_s = self._settings.max_backoff_s
