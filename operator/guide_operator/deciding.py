"""What an attempt at a plan comes to: read the cluster, ask the engine, decide. Nothing is written
here but the objects of mode Apply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from guide.cluster.client import ClusterClient, Stale
from guide.domain import Catalog, Inventory, Plan, Recommendation
from guide.errors import ClusterError, SpecError
from guide.live.learn import overlay
from guide.manifests.names import manifests_name
from guide.manifests.render import build_objects
from guide.search.assess import Running
from guide.spec import InferencePlan, parse_plan, resolve_plan
from guide.spec.checkpoint_files import with_files_beside
from guide_operator import jobs, pods, reconcile, releasing
from guide_operator import layouts as apply
from guide_operator import status as statuses
from guide_operator.cluster import ClusterState
from guide_operator.engine import Answer, Engine
from guide_operator.following import Follower
from guide_operator.metrics import Metrics
from guide_operator.permissions import NotPermitted, Permissions
from guide_operator.reconcile import Decision, Observed
from guide_operator.rollout import REFUSALS, apply_layout, progress
from guide_operator.settings import Settings
from guide_operator.status import Condition, Stamp
from guide_operator.work import Turns, Work

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name

_POLL_S = 3.0  # Deployments are not watched: that would need rights in every namespace
_POLL_STUCK_S = 15.0  # where only a Deployment tells that its pods can be made again
_LOOK_AGAIN_S = 30.0  # for what a plan waits for outside of itself, such as its ConfigMap
_MOST_READ = 8  # ConfigMaps at once that are compared with what was written: 40 kB each


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A plan as it was written, what it asks, and what the cluster held of it at that time."""

    written: InferencePlan
    question: Plan
    observed: Observed
    now: str
    asked: bool  # by its user or by time

    @property
    def key(self) -> Key:
        return self.written.metadata.namespace, self.written.metadata.name


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
        self._metrics = metrics
        self._cluster = cluster
        self._settle = settle
        self._permissions = Permissions(settings.deployment_fields, client)
        self._follower = Follower(client, cluster, settings.release_s)
        self._shipped = catalog
        self.catalogs: dict[str, Catalog] = {}  # with the corrections in force, by namespace
        self.turns = Turns()
        self._readers = asyncio.Semaphore(_MOST_READ)

    async def decide(self, work: Work, plan: Object, *, asked: bool) -> Decision:
        """What to write for `plan`. Raises `ClusterError` when trying again may help."""
        now = time_now()
        try:
            written = parse_plan(plan)
            await self._permissions.check(written)
            if followed := await self._follower.follow(written, observed_of(plan), now):
                self._poll(work, followed[1])
                return followed[0]
            question = await self.question(work, written)
        except SpecError as error:
            if isinstance(error, NotPermitted):
                work.look_again_s = _LOOK_AGAIN_S
            self._metrics.errors.labels(statuses.INVALID_SPEC).inc()
            refusal = observed_of(plan)
            return reconcile.refuse(statuses.INVALID_SPEC, str(error), refusal, now)
        one = _Asked(
            written=written, question=question, observed=observed_of(plan), now=now, asked=asked
        )
        if written.spec.output.mode == "Apply":
            return await self._apply(work, one)
        return await self._recommend(work, one)

    async def question(self, work: Work, written: InferencePlan) -> Plan:
        """What a plan asks, with its model's config.json read from where the plan says."""
        source = written.spec.model.config_from
        if source is None:
            return resolve_plan(written, self._shipped)
        reference, namespace = source.config_map_key_ref, written.metadata.namespace
        found = await asyncio.to_thread(self._client.config_map, namespace, reference.name)
        data: dict[str, str] = {} if found is None else found.get("data", {})
        config = data.get(reference.key)
        if config is None:
            work.look_again_s = _LOOK_AGAIN_S
            missing = "does not exist" if found is None else f"has no key {reference.key}"
            raise SpecError(
                f"spec.model.configFrom: ConfigMap {namespace}/{reference.name} {missing}: "
                "put the model's config.json there",
                field="spec.model.configFrom",
            )
        config = with_files_beside(reference.key, config, data.get)
        return resolve_plan(written, self._shipped, config)

    def _catalog(self, one: _Asked) -> Catalog:
        namespace = one.key[0]
        if namespace not in self.catalogs:
            ledger = self._engine.ledger_of(namespace)
            self.catalogs[namespace] = overlay(self._shipped, ledger)
        return self.catalogs[namespace]

    def _inputs(self, one: _Asked) -> tuple[Inventory, str]:
        edited = apply.edited(one.observed.status, one.observed.generation)
        inventory = self._cluster.inventory(one.question, *one.key, edited=edited)
        digest = reconcile.inputs_digest(one.written, one.question, inventory, self._catalog(one))
        return inventory, digest

    async def _observe(self, one: _Asked) -> _Asked:
        namespace, name = one.key
        found = await asyncio.to_thread(self._client.config_map, namespace, manifests_name(name))
        observed = replace(one.observed, config_map=found)
        if reconcile.left_behind(observed):
            raise ClusterError("the ConfigMap of a deleted plan of the same name is still there")
        return replace(one, observed=observed)

    async def _answer(
        self,
        work: Work,
        one: _Asked,
        inventory: Inventory,
        running: tuple[Running, ...],
        inputs: str,
    ) -> Answer:
        """What the engine says, unless the plan is edited first: then nobody waits for it."""
        answering = asyncio.ensure_future(
            self._engine.answer(
                one.question,
                inventory,
                running,
                digest=inputs,
                routine=not one.asked,
                namespace=one.key[0],
            )
        )
        edited = asyncio.ensure_future(work.edited.wait())
        try:
            await asyncio.wait({answering, edited}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise Stale("the plan was edited while it was answered")
            return answering.result()
        finally:
            answering.cancel()
            edited.cancel()

    def _result(
        self,
        one: _Asked,
        answer: Recommendation,
        inputs: str,
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
            self._catalog(one),
            one.observed,
            inputs=inputs,
            now=one.now,
            more=tuple(more),
            applied=applied,
            held=held,
        )

    # --- mode Recommend --------------------------------------------------------------------------

    async def _intact(self, one: _Asked) -> bool:
        """Whether what was written is still there; of all that ask, a few hold their ConfigMap."""
        async with self._readers:
            seen = await self._observe(one)
            return reconcile.intact(one.written, seen.observed)

    async def _recommend(self, work: Work, one: _Asked) -> Decision:
        inventory, inputs = self._inputs(one)
        if reconcile.settled(one.observed, inputs):
            if not one.asked:
                return Decision()
            if await self._intact(one):
                return Decision()
        answer = await self._answer(work, one, inventory, (), inputs)
        one = await self._observe(one)  # not before: thousands may wait, each with its ConfigMap
        return self._result(one, answer.recommendation, inputs)

    # --- mode Apply ------------------------------------------------------------------------------

    async def _apply(self, work: Work, one: _Asked) -> Decision:
        """Apply what is to run once its GPUs are reserved, and say how far that has come.

        From reading the inventory until the reservation is written it is this plan's turn.
        """
        _, inputs = self._inputs(one)
        if reconcile.settled(one.observed, inputs) and not one.asked:
            found = await self._progress(work, one)
            if found is not None:
                return found
        one = await self._observe(one)
        self._settle()
        await self.turns.come(one.key)
        inventory, inputs = self._inputs(one)  # others may have taken GPUs meanwhile
        batch = jobs.is_batch(one.written) or one.observed.status.get("applied", {}).get("jobs")
        running = () if batch else apply.running(one.observed.status)
        answer = await self._answer(work, one, inventory, running, inputs)
        return await self._act(work, one, answer, inputs)

    async def _act(self, work: Work, one: _Asked, answer: Answer, inputs: str) -> Decision:
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
            return self._result(one, chosen.recommendation, inputs, idle)
        if (refusal := self._result(one, chosen.recommendation, inputs)).refused:
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
            return self._result(one, chosen.recommendation, inputs, more)
        self.turns.leave(one.key, keep_place=work.changed.is_set())
        more = self._explained(one, await asyncio.to_thread(*arguments, rehearsal=False))
        self._poll(work, more)
        layout = jobs.with_end(layout, more) if begun else layout
        layout, more = self._released(one, layout, more)
        more = [*more, chosen.better]
        return self._result(one, chosen.recommendation, inputs, more, layout)

    async def _progress(self, work: Work, one: _Asked) -> Decision | None:
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

    def _explained(self, one: _Asked, said: Sequence[Condition]) -> list[Condition]:
        """What Deployments say of a rollout, with the words of the plan's pods."""
        return apply.explained(said, self._follower.report(one.written))

    def _released(
        self, one: _Asked, applied: Mapping[str, Any], more: Sequence[Condition]
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


def observed_of(plan: Object) -> Observed:
    """What the plan's own object says; its ConfigMap is not read."""
    metadata = plan["metadata"]
    return Observed(
        uid=metadata["uid"],
        generation=metadata["generation"],
        status=plan.get("status") or {},
        config_map=None,
    )


def time_now() -> str:
    """The wall clock, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
