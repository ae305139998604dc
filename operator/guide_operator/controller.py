"""One task a plan: wait for a change, read, decide, write; try again later when the cluster fails.

A plan's task is the only one that writes for that plan, so writes of one plan never overtake each
other. Nothing is kept that the cluster does not know: a fresh process goes on where this one was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from guide.cluster.client import ClusterClient, FieldConflict, NotFound, Stale
from guide.domain import Catalog, Inventory, Plan
from guide.errors import ClusterError, TookTooLong
from guide.live.learn import Corrections, factors
from guide.manifests.names import object_name
from guide.spec import parse_plan
from guide_operator import findings, reconcile
from guide_operator import status as statuses
from guide_operator.asking import observed_of, time_now
from guide_operator.cluster import ClusterState
from guide_operator.deciding import Decider
from guide_operator.engine import Engine
from guide_operator.findings import LiveFinding
from guide_operator.metrics import Metrics
from guide_operator.pulse import Pulse
from guide_operator.reconcile import Decision, Event
from guide_operator.settings import Settings
from guide_operator.work import Age, TryAgain, Work, either, pause

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
Tell = Callable[[Object, Event], None]

log = logging.getLogger("guide")

_PATIENT_ATTEMPTS = 3  # so often may a plan fail before younger ones go first


class Controller:
    """The operator without kopf: what to do when something changed."""

    def __init__(
        self,
        settings: Settings,
        client: ClusterClient,
        catalog: Catalog,
        engine: Engine,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._client = client
        self._engine = engine
        self._metrics = metrics
        self._work: dict[Key, Work] = {}
        self._settling: asyncio.TimerHandle | None = None
        self.cluster = ClusterState(catalog, settings.node_bounds())
        self._decider = Decider(
            settings, client, catalog, engine, metrics, self.cluster, self._settle_now
        )
        self._turns = self._decider.turns
        self.attempts = Pulse()

    # --- what happened ---------------------------------------------------------------------------

    def plan_seen(self, plan: Object, *, ours: bool = True) -> None:
        """A plan is there or changed; of all plans this is said before the first one is worked on.

        So no plan takes GPUs that another one holds, or before an older one was known. A plan that
        is not `ours` is answered by another operator; only what it holds counts here.
        """
        key = _key(plan)
        if self.cluster.set_plan(key, plan):
            self.cluster_changed()
        if ours and key not in self._work:
            self._queue(plan)

    def plan_changed(self, plan: Object, tell: Tell) -> None:
        """A plan appeared or changed; `tell` records an event on it."""
        key = _key(plan)
        self._metrics.plans.show(plan)
        work = self._work.get(key)
        if work is None:
            work = self._work[key] = Work(plan)
        else:
            if plan["metadata"]["generation"] != work.plan["metadata"]["generation"]:
                work.tell_edited()
            work.hold(plan)
        if work.task is None or work.task.done():  # kopf ends what was begun under a watch with it
            work.task = asyncio.create_task(self._keep(work, tell), name="/".join(key))
        elif plan["metadata"]["resourceVersion"] == work.written:
            return  # our own write came back
        work.asked = True
        self._wake(work)

    def plan_deleted(self, key: Key) -> None:
        """A plan is gone; the garbage collector removes what it owned."""
        work = self._work.pop(key, None)
        if work is not None and work.task is not None:
            work.task.cancel()
        self._turns.leave(key)
        if self.cluster.set_plan(key, None):
            self.cluster_changed()
        self._metrics.plans.forget(key)

    def pod_changed(self, key: Key, pod: Object | None) -> None:
        """A pod (namespace, name) appeared, changed or, as None, is gone: its plan looks at it.

        Other plans are not concerned, and what the pod holds is `Cluster.set_pod`'s affair.
        """
        owner = self.cluster.managed.set(key, pod)
        if owner is None:
            return
        for (namespace, name), work in self._work.items():
            if (namespace, object_name(name)) == owner:
                self._wake(work)

    def cluster_changed(self) -> None:
        """What plans may use changed: they look again, once for all changes of a few seconds."""
        if self._settling is None:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(self._settings.settle_s, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._metrics.plans.show_inventory(self.cluster.whole_inventory())
        for work in self._work.values():
            self._wake(work)

    def _settle_now(self) -> None:
        """Before a plan takes GPUs, older ones hear of what it would see."""
        if self._settling is not None:
            self._settling.cancel()
            self._settled()

    def _wake(self, work: Work) -> None:
        self._queue(work.plan)
        work.changed.set()

    def _queue(self, plan: Object) -> None:
        """A plan of mode Apply has its place among those that wait for GPUs from now on."""
        if plan["spec"].get("output", {}).get("mode") == "Apply":
            self._turns.join(_key(plan), _age(plan))

    # --- what others did to applied objects ------------------------------------------------------

    def applied(self) -> list[Work]:
        """The plans of which mode Apply has put something into the cluster."""
        return [
            work
            for work in self._work.values()
            if statuses.find(work.plan.get("status") or {}, "Applied")
        ]

    def touched(self, work: Work) -> None:
        """Others wrote or deleted what was applied: it is applied again, without force."""
        work.asked = True
        self._wake(work)

    # --- what the observer asks and tells --------------------------------------------------------

    def answered(self) -> list[Work]:
        """The plans that have a deployment as their answer."""
        return [work for work in self._work.values() if findings.runs(work.plan)]

    async def question(self, work: Work) -> tuple[Plan, Inventory]:
        """What a plan asks, and of which inventory."""
        question = await self._decider.asker.question(work, parse_plan(work.plan))
        return question, self.cluster.inventory(question, *_key(work.plan))

    def found(self, work: Work, finding: LiveFinding) -> None:
        """Its pods were compared with what was predicted."""
        work.finding = finding
        self._wake(work)

    def use(self, ledger: Corrections) -> None:
        """Answer by other corrections from now on: plans that they concern are planned again."""
        self._engine.use(ledger)
        self._decider.asker.forget_corrections()
        self._metrics.plans.show_corrections(factors(ledger))
        for work in self._work.values():
            self._wake(work)

    async def close(self) -> None:
        """Stop all tasks; what they were about to write is found again at the next start."""
        if self._settling is not None:
            self._settling.cancel()
        tasks = [work.task for work in self._work.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._engine.close()

    # --- the task of a plan ----------------------------------------------------------------------

    async def _keep(self, work: Work, tell: Tell) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            wait=wait_random_exponential(min=1, max=self._settings.max_backoff_s),
            sleep=lambda seconds: pause(work.changed, seconds),
            before_sleep=self._report,
        )
        while True:
            await retrying.copy()(self._attempt, work, tell)
            wait_s = work.poll_s or work.look_again_s or self._pause_s()
            if await either(work.changed, wait_s):
                continue
            work.unasked_s += wait_s
            if work.poll_s is None or work.unasked_s >= self._settings.resync_s:
                work.asked, work.unasked_s = True, 0.0

    def _pause_s(self) -> float:
        """Until the next unasked look; spread, so that plans made together do not stay together."""
        return self._settings.resync_s * random.uniform(0.9, 1.1)

    def _report(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: trying again: %s", _name(state.args[0].plan), error)

    async def _attempt(self, work: Work, tell: Tell) -> None:
        self._metrics.looks.inc()
        self.attempts.begin()
        work.changed.clear()
        work.look_again_s = work.poll_s = None
        asked, plan = work.asked, work.plan
        work.asked = False
        self._queue(plan)
        try:
            await self._try(work, plan, tell, asked=asked)
            work.failures = 0
        except TryAgain:
            work.failures += 1
            raise
        finally:
            self.attempts.end()
            patient = 0 < work.failures <= _PATIENT_ATTEMPTS
            self._turns.leave(_key(plan), keep_place=patient or work.changed.is_set())

    async def _try(self, work: Work, plan: Object, tell: Tell, *, asked: bool) -> None:
        """Whatever comes of it, the task of a plan goes on."""
        try:
            await self._look(work, plan, tell, asked=asked)
        except Stale as error:  # no failure: the event that tells of it is on its way
            work.asked = True
            raise TryAgain(str(error)) from error
        except ClusterError as error:
            work.asked = True
            raise self._failed("Cluster", error) from error
        except Exception as error:
            work.asked = True
            log.exception("%s: this is a bug in GUIDE", _name(plan))
            failed = self._failed(statuses.INTERNAL_ERROR, error)
            with contextlib.suppress(ClusterError):
                await self._write_refusal(work, plan, statuses.INTERNAL_ERROR, str(failed), tell)
            raise failed from error

    async def _look(self, work: Work, plan: Object, tell: Tell, *, asked: bool) -> None:
        try:
            decision = await self._decider.decide(work, plan, asked=asked)
            decision = findings.merged(decision, plan, work.finding, time_now())
            await self._write(work, plan, decision, tell)
            if decision.again:
                work.asked = True
                self._wake(work)
        except FieldConflict as error:
            self._failed(statuses.CONFLICT, error)
            await self._write_refusal(work, plan, statuses.CONFLICT, str(error), tell)
            work.look_again_s = self._settings.max_backoff_s
        except TookTooLong as error:  # until it is edited, or its cluster changes
            self._metrics.errors.labels(statuses.TOOK_TOO_LONG).inc()
            refusal = reconcile.refuse(
                statuses.TOOK_TOO_LONG, str(error), observed_of(plan), time_now()
            )
            await self._write(work, plan, refusal, tell)

    def _failed(self, reason: str, error: Exception) -> TryAgain:
        self._metrics.errors.labels(reason).inc()
        return TryAgain(str(error) or type(error).__name__)

    # --- write -----------------------------------------------------------------------------------

    async def _write(self, work: Work, plan: Object, decision: Decision, tell: Tell) -> None:
        """Objects first and the status last: it says that all before it is done.

        Where an object alone was put right, the same status again tells whether the plan is there.
        """
        for value in decision.objects:
            await asyncio.to_thread(self._client.apply, value)
        status = decision.status or (dict(plan.get("status") or {}) if decision.objects else None)
        if status:
            metadata = plan["metadata"]
            try:
                new = await asyncio.to_thread(
                    self._client.write_status,
                    metadata["namespace"],
                    metadata["name"],
                    status,
                    uid=metadata["uid"],
                    resource_version=metadata["resourceVersion"],
                )
            except NotFound:  # it is deleted, and a watch that was cut may not say so for long
                if self._work.get(_key(plan)) is work:
                    self.plan_deleted(_key(plan))
                return
            work.written = new["metadata"]["resourceVersion"]
            if self.cluster.set_plan(_key(new), new):
                self.cluster_changed()
            if work.plan["metadata"]["resourceVersion"] == metadata["resourceVersion"]:
                work.hold(new)
                self._metrics.plans.show(new)
        for event in decision.events:
            tell(plan, event)

    async def _write_refusal(
        self, work: Work, plan: Object, reason: str, message: str, tell: Tell
    ) -> None:
        refusal = reconcile.refuse(reason, message, observed_of(plan), time_now(), stalled=False)
        await self._write(work, plan, refusal, tell)


def _key(plan: Object) -> Key:
    return plan["metadata"]["namespace"], plan["metadata"]["name"]


def _name(plan: Object) -> str:
    return "/".join(_key(plan))


def _age(plan: Object) -> Age:
    return plan["metadata"]["creationTimestamp"], *_key(plan)
