"""One task a plan: wait for a change, read, decide, write; try again later when the cluster fails.

A plan's task is the only one that writes for that plan, so writes of one plan never overtake each
other. Nothing is kept that the cluster does not know: a fresh process goes on where this one was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from guide.domain import Catalog, Inventory, Plan
from guide.errors import ClusterError, SpecError
from guide.kube.client import ClusterClient, FieldConflict, Stale
from guide.kube.names import manifests_name
from guide.observe.learn import Ledger, factors, overlay
from guide.spec import InferencePlan, parse_plan, resolve_plan
from guide_operator import apply, findings, reconcile
from guide_operator import status as statuses
from guide_operator.applier import apply_layout, progress
from guide_operator.cluster import Cluster
from guide_operator.engine import Answer, Engine
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Decision, Event, Observed
from guide_operator.settings import Settings
from guide_operator.status import Condition, Stamp
from guide_operator.work import TryAgain, Work, either, pause

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
Tell = Callable[[Object, Event], None]

log = logging.getLogger("guide")

_POLL_S = 3.0  # Deployments are not watched: that would need rights in every namespace
_LOOK_AGAIN_S = 30.0  # for what a plan waits for outside of itself, such as its ConfigMap


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
        self._catalog = self._shipped = catalog
        self._engine = engine
        self._metrics = metrics
        self._work: dict[Key, Work] = {}
        self._settling: asyncio.TimerHandle | None = None
        self.cluster = Cluster(catalog)

    # --- what happened ---------------------------------------------------------------------------

    def plan_changed(self, plan: Object, tell: Tell) -> None:
        """A plan appeared or changed; `tell` records an event on it."""
        key = _key(plan)
        self._metrics.plans.show(plan)
        work = self._work.get(key)
        if work is None:
            work = self._work[key] = Work(plan)
            work.task = asyncio.create_task(self._keep(work, tell), name="/".join(key))
        elif plan["metadata"]["resourceVersion"] == work.written:
            work.plan = plan  # our own write came back
            return
        work.plan = plan
        work.asked = True
        work.changed.set()

    def plan_deleted(self, plan: Object) -> None:
        """A plan is gone; the garbage collector removes what it owned."""
        work = self._work.pop(_key(plan), None)
        if work is not None and work.task is not None:
            work.task.cancel()
        self._metrics.plans.forget(_key(plan))

    def cluster_changed(self) -> None:
        """Nodes or pods changed: plans look again, once for all changes of a few seconds."""
        if self._settling is None:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(self._settings.settle_s, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._metrics.plans.show_inventory(self.cluster.whole_inventory())
        for work in self._work.values():
            work.changed.set()

    # --- what the observer asks and tells --------------------------------------------------------

    def answered(self) -> list[Work]:
        """The plans that have a deployment as their answer."""
        return [work for work in self._work.values() if findings.runs(work.plan)]

    async def question(self, work: Work) -> tuple[Plan, Inventory]:
        """What a plan asks, and of which inventory."""
        question = await self._question(work, parse_plan(work.plan))
        return question, self.cluster.inventory(question, *_key(work.plan))

    def use(self, ledger: Ledger) -> None:
        """Answer by other corrections from now on: plans that they concern are planned again."""
        self._engine.ledger = ledger
        self._catalog = overlay(self._shipped, ledger)
        self._metrics.plans.show_corrections(factors(ledger))
        for work in self._work.values():
            work.changed.set()

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
            if not await either(work.changed, wait_s) and work.poll_s is None:
                work.asked = True

    def _pause_s(self) -> float:
        """Until the next unasked look; spread, so that plans made together do not stay together."""
        return self._settings.resync_s * random.uniform(0.9, 1.1)

    def _report(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: trying again: %s", _name(state.args[0].plan), error)

    async def _attempt(self, work: Work, tell: Tell) -> None:
        work.changed.clear()
        work.look_again_s = work.poll_s = None
        asked, plan = work.asked, work.plan
        work.asked = False
        try:
            decision = await self._decide(work, plan, asked=asked)
            decision = findings.merged(decision, plan, work.finding, _now())
            await self._write(work, plan, decision, tell)
        except FieldConflict as error:
            self._failed(statuses.CONFLICT, error)
            await self._write_refusal(work, plan, statuses.CONFLICT, str(error), tell)
            work.look_again_s = self._settings.max_backoff_s
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

    def _failed(self, reason: str, error: Exception) -> TryAgain:
        self._metrics.errors.labels(reason).inc()
        return TryAgain(str(error) or type(error).__name__)

    # --- read and decide -------------------------------------------------------------------------

    async def _decide(self, work: Work, plan: Object, *, asked: bool) -> Decision:
        now = _now()
        try:
            written = parse_plan(plan)
            question = await self._question(work, written)
        except SpecError as error:
            self._metrics.errors.labels(statuses.INVALID_SPEC).inc()
            refusal = _observed(plan, None)
            return reconcile.refuse(statuses.INVALID_SPEC, str(error), refusal, now)
        inventory = self.cluster.inventory(question, *_key(plan))
        inputs = reconcile.inputs_digest(written, question, inventory, self._catalog)
        settled = reconcile.settled(_observed(plan, None), inputs)
        applies = written.spec.output.mode == "Apply"
        if settled and not asked:
            progress = await self._progress(work, written, plan, now) if applies else Decision()
            if progress is not None:
                return progress
        observed = await self._observe(plan)
        if settled and not applies and reconcile.intact(written, observed):
            return Decision()
        if reconcile.left_behind(observed):
            raise ClusterError("the ConfigMap of a deleted plan of the same name is still there")
        running = apply.running(observed.status) if applies else ()
        answer = await self._engine.answer(question, inventory, running, routine=not asked)
        if applies:
            return await self._apply(work, written, answer, observed, inputs, now)
        return reconcile.decide(
            written, answer.recommendation, self._catalog, observed, inputs, now
        )

    async def _question(self, work: Work, written: InferencePlan) -> Plan:
        source = written.spec.model.config_from
        if source is None:
            return resolve_plan(written, self._catalog)
        reference, namespace = source.config_map_key_ref, written.metadata.namespace
        found = await asyncio.to_thread(self._client.config_map, namespace, reference.name)
        config = None if found is None else found.get("data", {}).get(reference.key)
        if config is None:
            work.look_again_s = _LOOK_AGAIN_S
            missing = "does not exist" if found is None else f"has no key {reference.key}"
            raise SpecError(
                f"spec.model.configFrom: ConfigMap {namespace}/{reference.name} {missing}: "
                "put the model's config.json there",
                field="spec.model.configFrom",
            )
        return resolve_plan(written, self._catalog, config)

    async def _observe(self, plan: Object) -> Observed:
        namespace, name = _key(plan)
        found = await asyncio.to_thread(self._client.config_map, namespace, manifests_name(name))
        return _observed(plan, found)

    # --- mode Apply ------------------------------------------------------------------------------

    async def _apply(
        self,
        work: Work,
        written: InferencePlan,
        answer: Answer,
        observed: Observed,
        inputs: str,
        now: str,
    ) -> Decision:
        """Apply what is to run, and say how far that has come."""
        since = observed.status.get("applied", {}).get("betterSince")
        chosen = apply.choose(
            answer.recommendation, answer.running, since, _seconds_since(since, now), now
        )
        best = chosen.recommendation.best
        arguments = (written, chosen.recommendation, self._catalog, observed, inputs, now)
        if best is None:  # what runs, if anything, is left alone
            return reconcile.decide(*arguments, apply.idle(chosen.recommendation))
        if reconcile.decide(*arguments).refused:
            return reconcile.decide(*arguments)
        more = await asyncio.to_thread(apply_layout, self._client, written, best, observed.uid)
        self._poll(work, more)
        return reconcile.decide(
            *arguments, [*more, chosen.better], apply.record(best, chosen.better_since)
        )

    async def _progress(
        self, work: Work, written: InferencePlan, plan: Object, now: str
    ) -> Decision | None:
        """How far the applied Deployments have come; None when they must be applied again."""
        observed = _observed(plan, None)
        groups = len(apply.running(observed.status))
        if statuses.find(observed.status, "Applied").get("status") != "True" or not groups:
            return Decision()
        waiting = await asyncio.to_thread(progress, self._client, written, groups)
        if waiting is None:
            return None
        ready = statuses.find(observed.status, "Feasible")["message"]
        more = waiting or statuses.available(ready)
        if not waiting and statuses.find(observed.status, "Ready").get("status") != "True":
            return None  # just became available: apply once more, which removes what was replaced
        self._poll(work, more)
        stamp = Stamp(generation=observed.generation, now=now, previous=observed.status)
        status = statuses.progressed(more, stamp)
        return Decision(status=None if statuses.same(status, observed.status) else status)

    def _poll(self, work: Work, conditions: Iterable[Condition]) -> None:
        """Look again soon while a rollout goes on, later where something is in the way."""
        for condition in conditions:
            if condition.type == "Reconciling" and condition.status:
                work.poll_s = _POLL_S
            elif condition.type == "Stalled" and condition.status:
                work.look_again_s = self._settings.max_backoff_s

    # --- write -----------------------------------------------------------------------------------

    async def _write(self, work: Work, plan: Object, decision: Decision, tell: Tell) -> None:
        """Objects first and the status last: it says that all before it is done."""
        for value in decision.objects:
            await asyncio.to_thread(self._client.apply, value)
        if decision.status is not None:
            metadata = plan["metadata"]
            new = await asyncio.to_thread(
                self._client.write_status,
                metadata["namespace"],
                metadata["name"],
                decision.status,
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
            )
            work.written = new["metadata"]["resourceVersion"]
            if work.plan is plan:
                work.plan = new
                self._metrics.plans.show(new)
        for event in decision.events:
            tell(plan, event)

    async def _write_refusal(
        self, work: Work, plan: Object, reason: str, message: str, tell: Tell
    ) -> None:
        refusal = reconcile.refuse(reason, message, _observed(plan, None), _now(), stalled=False)
        await self._write(work, plan, refusal, tell)


def _key(plan: Object) -> Key:
    return plan["metadata"]["namespace"], plan["metadata"]["name"]


def _name(plan: Object) -> str:
    return "/".join(_key(plan))


def _observed(plan: Object, config_map: Object | None) -> Observed:
    metadata = plan["metadata"]
    return Observed(
        uid=metadata["uid"],
        generation=metadata["generation"],
        status=plan.get("status") or {},
        config_map=config_map,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds_since(then: str | None, now: str) -> float:
    if then is None:
        return 0.0
    return (datetime.fromisoformat(now) - datetime.fromisoformat(then)).total_seconds()
