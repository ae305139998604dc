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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from guide.answer import Recommendation
from guide.domain import Catalog, Inventory, Plan
from guide.errors import ClusterError, SpecError
from guide.kube.client import ClusterClient, FieldConflict
from guide.kube.names import manifests_name
from guide.spec import InferencePlan, parse_plan, resolve_plan
from guide_operator import reconcile
from guide_operator import status as statuses
from guide_operator.cluster import Cluster
from guide_operator.engine import Engine
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Decision, Event, Observed
from guide_operator.settings import Settings

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
Tell = Callable[[Object, Event], None]

log = logging.getLogger("guide")

_LOOK_AGAIN_S = 30.0  # for what a plan waits for outside of itself, such as its ConfigMap


class TryAgain(Exception):
    """The plan is not done; trying again later may help."""


@dataclass(eq=False)
class Work:
    """A plan and what has happened to it since its task last looked."""

    plan: Object
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = True  # by its user or by time, and not merely by a change in the cluster
    written: str | None = None  # resourceVersion after our own last write
    look_again_s: float | None = None
    task: asyncio.Task[None] | None = None


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
        self._catalog = catalog
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
            sleep=lambda seconds: _pause(work.changed, seconds),
            before_sleep=self._report,
        )
        while True:
            await retrying.copy()(self._attempt, work, tell)
            if not await _either(work.changed, work.look_again_s or self._pause_s()):
                work.asked = True

    def _pause_s(self) -> float:
        """Until the next unasked look; spread, so that plans made together do not stay together."""
        return self._settings.resync_s * random.uniform(0.9, 1.1)

    def _report(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s: trying again: %s", _name(state.args[0].plan), error)

    async def _attempt(self, work: Work, tell: Tell) -> None:
        work.changed.clear()
        work.look_again_s = None
        asked, plan = work.asked, work.plan
        work.asked = False
        try:
            decision = await self._decide(work, plan, asked=asked)
            await self._write(work, plan, decision, tell)
        except FieldConflict as error:
            self._failed(statuses.CONFLICT, error)
            await self._write_refusal(work, plan, statuses.CONFLICT, str(error), tell)
            work.look_again_s = self._settings.max_backoff_s
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
        if settled and not asked:
            return Decision()
        observed = await self._observe(plan)
        if settled and reconcile.intact(written, observed):
            return Decision()
        if reconcile.left_behind(observed):
            raise ClusterError("the ConfigMap of a deleted plan of the same name is still there")
        answer = await self._answer(question, inventory, routine=not asked)
        return reconcile.decide(written, answer, self._catalog, observed, inputs, now)

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

    async def _answer(self, plan: Plan, inventory: Inventory, *, routine: bool) -> Recommendation:
        return await self._engine.recommend(plan, inventory, routine=routine)

    async def _observe(self, plan: Object) -> Observed:
        namespace, name = _key(plan)
        found = await asyncio.to_thread(self._client.config_map, namespace, manifests_name(name))
        return _observed(plan, found)

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


async def _either(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for a change, but not longer than that; True if there was one."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True


async def _pause(changed: asyncio.Event, seconds: float) -> None:
    await _either(changed, seconds)
