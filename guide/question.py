"""A written plan and a cluster become a question, in the same way for every face (pure)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from guide.catalog import find_gpu
from guide.cluster.inventory import Memory, read_inventory
from guide.cluster.json_values import mapping
from guide.cluster.potential import with_potential
from guide.cluster.taints import EVERY_NODE, NodeBounds, Toleration
from guide.domain import Catalog, Gpu, Inventory, Plan, Recommendation
from guide.errors import SpecError
from guide.manifests.names import instance_labels
from guide.record import Record
from guide.search.progress import Seen
from guide.search.recommend import recommend
from guide.spec import InferencePlan, resolve_plan
from guide.spec.digest import inputs_digest
from guide.spec.messages import nearest
from guide.spec.node_pools import NodePool

Object = dict[str, Any]  # as the API server writes it


class Cluster(Record, frozen=True, kw_only=True):
    """The objects of a cluster, and the node pools that it could add."""

    nodes: Collection[Object] = ()
    pods: Collection[Object] = ()
    devices: Sequence[Object] = ()  # ResourceSlices and ResourceClaims
    node_pools: tuple[NodePool, ...] = ()
    bounds: NodeBounds = EVERY_NODE  # of whoever installed GUIDE


class Question(Record, frozen=True, kw_only=True):
    """All that `recommend` needs, and the plan as its user wrote it."""

    written: InferencePlan
    plan: Plan
    config: str | None  # the model's config.json, if one was given
    inventory: Inventory
    catalog: Catalog
    model_path: str | None = None  # where the plan names files of this machine as its model

    @property
    def digest(self) -> str:
        """A name: questions of the same digest have the same answer."""
        return inputs_digest(self.written, self.plan, self.inventory, self.catalog)

    def rendered_as(self, form: str) -> Question:
        """For an output format: only a LeaderWorkerSet can put a replica on several nodes.

        `SpecError` for a model that pods could not load.
        """
        if self.model_path is not None:
            raise SpecError(
                f"spec.model.name is {self.model_path}, which no pod can load: name the Hugging "
                "Face id of the model, and give the path by --model-config",
                field="spec.model.name",
            )
        return replace(self, plan=replace(self.plan, over_nodes=form == "leaderworkerset"))

    def answer(self, seed: int = 0, seen: Seen | None = None) -> Recommendation:
        """The recommendation; `seen` is told how far the search is."""
        return recommend(self.plan, self.inventory, self.catalog, seed=seed, seen=seen)


def ask(
    written: InferencePlan,
    found: Cluster | Inventory,
    catalog: Catalog,
    config: str | None = None,
) -> Question:
    """The question of a plan about a cluster, or about pools that were read from one before.

    Raises `SpecError` where the plan, its model's `config` or a node pool names what GUIDE does not
    know.
    """
    return Question(
        written=written,
        plan=resolve_plan(written, catalog, config),
        config=config,
        inventory=inventory_of(written, found, catalog) if isinstance(found, Cluster) else found,
        catalog=catalog,
    )


def inventory_of(written: InferencePlan, found: Cluster, catalog: Catalog) -> Inventory:
    """The GPU pools of a cluster for a plan; `SpecError` when a node pool names an unknown GPU.

    GPUs that the plan's own pods hold count as free: a plan does not compete with itself.
    """
    mine = instance_labels(written.metadata.name).items()

    def own(pod: Mapping[str, Any]) -> bool:
        metadata = mapping(pod.get("metadata"))
        here = metadata.get("namespace") == written.metadata.namespace
        return here and mine <= mapping(metadata.get("labels")).items()

    placement = written.spec.placement
    selector = tuple(placement.node_selector.items())
    return pools_of(
        found, catalog, selector, own, tolerations=[t.to_domain() for t in placement.tolerations]
    )


def pools_of(
    found: Cluster,
    catalog: Catalog,
    selector: tuple[tuple[str, str], ...],
    own: Callable[[Mapping[str, Any]], bool],
    memory: Memory | None = None,
    tolerations: Sequence[Toleration] = (),
) -> Inventory:
    """The pools of the nodes that `selector` and `tolerations` admit, GPUs of `own` pods free.

    With a `memory`, only what changed since its last use is read anew.
    """
    inventory = read_inventory(
        found.nodes,
        found.pods,
        catalog,
        slices=found.devices,
        own=own,
        node_selector=selector,
        tolerations=tolerations,
        bounds=found.bounds,
        memory=memory,
    )
    return with_potential(inventory, found.node_pools, found.nodes, catalog, selector)


def known_gpu(name: str, catalog: Catalog, field: str) -> Gpu:
    """The catalogue's GPU of this name or alias; `SpecError` that names what is close."""
    gpu = find_gpu(catalog, name)
    if gpu is None:
        close = nearest(name, catalog.gpus)
        mend = f"did you mean {close[0]}?" if close else "`guide gpus` lists what is"
        raise SpecError(f"{field}: {name} is not in the catalogue: {mend}", field=field)
    return gpu
