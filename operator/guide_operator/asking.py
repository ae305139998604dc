"""What a plan asks, of which inventory, and whether it is asked at all. Only reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from guide.cluster.client import ClusterClient
from guide.domain import Catalog, Inventory, Plan
from guide.errors import ClusterError, SpecError
from guide.live.learn import overlay
from guide.manifests.names import manifests_name
from guide.spec import InferencePlan, resolve_plan
from guide.spec.checkpoint_files import with_files_beside
from guide_operator import layouts as apply
from guide_operator import reconcile
from guide_operator.cluster import ClusterState
from guide_operator.engine import Engine
from guide_operator.reconcile import Observed
from guide_operator.work import Key, Object, Work

LOOK_AGAIN_S = 30.0  # for what a plan waits for outside of itself, such as its ConfigMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A plan as it was written, what it asks, and what the cluster held of it at that time."""

    written: InferencePlan
    question: Plan
    observed: Observed
    inventory: Inventory
    inputs: str  # digest of all that the answer rests on
    now: str
    asked: bool  # by its user or by time

    @property
    def key(self) -> Key:
        """Of the plan."""
        return self.written.metadata.namespace, self.written.metadata.name

    @property
    def settled(self) -> bool:
        """Whether this is answered already."""
        return reconcile.settled(self.observed, self.inputs)


class Asker:
    """Makes questions of plans."""

    def __init__(
        self, client: ClusterClient, catalog: Catalog, engine: Engine, cluster: ClusterState
    ) -> None:
        self._client = client
        self._shipped = catalog
        self._engine = engine
        self._cluster = cluster
        self._catalogs: dict[str, Catalog] = {}

    def catalog(self, namespace: str) -> Catalog:
        """The catalogue with the corrections in force for the plans of a namespace."""
        if namespace not in self._catalogs:
            ledger = self._engine.ledger_of(namespace)
            self._catalogs[namespace] = overlay(self._shipped, ledger)
        return self._catalogs[namespace]

    def forget_corrections(self) -> None:
        """There are others."""
        self._catalogs.clear()

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
            work.look_again_s = LOOK_AGAIN_S
            missing = "does not exist" if found is None else f"has no key {reference.key}"
            raise SpecError(
                f"spec.model.configFrom: ConfigMap {namespace}/{reference.name} {missing}: "
                "put the model's config.json there",
                field="spec.model.configFrom",
            )
        config = with_files_beside(reference.key, config, data.get)
        return resolve_plan(written, self._shipped, config)

    async def asked(
        self, work: Work, written: InferencePlan, observed: Observed, now: str, *, asked: bool
    ) -> Asked:
        """The question of a plan, as its cluster is now."""
        question = await self.question(work, written)
        inventory, inputs = self._inputs(written, question, observed)
        return Asked(
            written=written,
            question=question,
            observed=observed,
            inventory=inventory,
            inputs=inputs,
            now=now,
            asked=asked,
        )

    def again(self, one: Asked) -> Asked:
        """The same question: others may have taken GPUs meanwhile."""
        inventory, inputs = self._inputs(one.written, one.question, one.observed)
        return replace(one, inventory=inventory, inputs=inputs)

    def _inputs(
        self, written: InferencePlan, question: Plan, observed: Observed
    ) -> tuple[Inventory, str]:
        namespace, name = written.metadata.namespace, written.metadata.name
        edited = apply.edited(observed.status, observed.generation)
        inventory = self._cluster.inventory(question, namespace, name, edited=edited)
        catalog = self.catalog(namespace)
        return inventory, reconcile.inputs_digest(written, question, inventory, catalog)

    async def observe(self, one: Asked) -> Asked:
        """With its ConfigMap, which thousands that wait should not hold."""
        namespace, name = one.key
        found = await asyncio.to_thread(self._client.config_map, namespace, manifests_name(name))
        observed = replace(one.observed, config_map=found)
        if reconcile.left_behind(observed):
            raise ClusterError("the ConfigMap of a deleted plan of the same name is still there")
        return replace(one, observed=observed)

    async def intact(self, one: Asked) -> bool:
        """Whether its ConfigMap still holds what was written."""
        seen = await self.observe(one)
        return reconcile.intact(one.written, seen.observed)


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
