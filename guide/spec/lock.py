"""``guide.lock.yaml``: all that a rendered folder was made from, so that it can be made again.

It lies beside the manifests and is never applied. The inventory in it is complete: `guide check`
needs no cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec.structs import replace
from pydantic import ConfigDict, Field, ValidationError

from guide.domain import (
    Catalog,
    Evaluation,
    Gpu,
    GpuPool,
    Inventory,
    LayoutKey,
    Limits,
    Price,
    ReplicaGroup,
    SkippedNode,
)
from guide.errors import SpecError, shown
from guide.spec.edge import Edge
from guide.spec.messages import field_path

LOCK_KIND = "Lock"
LIVE = "live"  # as_of of a price that the cluster states itself

Count = Annotated[int, Field(ge=0)]


class Locked(Edge):
    """Base of the parts of a lock."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class LockedPrice(Locked):
    """What a GPU of the pool cost, and who said so."""

    usd_per_gpu_hour: float = Field(alias="usdPerGPUHour")
    billed_gpus: int = Field(alias="billedGPUs", ge=1)
    source: str
    as_of: str


class LockedPart(Locked):
    """What the pool calls a GPU: a part of one (MIG, time slice), or one with other memory."""

    parent: str
    share: float
    compute_share: float
    hbm_bytes: float
    seen_bytes: float | None = None
    relative: str | None = None
    linked: bool = False

    def to_domain(self, name: str, catalog: Catalog) -> Gpu | None:
        """The part again; None where the catalogue lost its parent."""
        parent = catalog.gpus.get(self.parent)
        if parent is None:
            return None
        part = parent.part(name, self.compute_share, self.share, self.hbm_bytes)
        return replace(
            part,
            seen_bytes=self.seen_bytes,
            relative=self.relative or parent.relative,
            linked=self.linked,
        )


class LockedPool(Locked):
    """One GPU pool as it was found."""

    name: str
    gpu: str | None  # catalogue name
    part: LockedPart | None = None
    product: str
    source: str
    resource: str
    gpus_per_node: Count = Field(alias="gpusPerNode")
    free_gpus: dict[int, int] = Field(alias="freeGPUs")  # free GPUs of a node -> nodes like it
    used_gpus: Count = Field(default=0, alias="usedGPUs")
    unusable_gpus: Count = Field(default=0, alias="unusableGPUs")
    price: LockedPrice | None = None
    node_selector: dict[str, str] = Field(default={})
    tolerations: tuple[dict[str, str], ...] = ()
    shared: bool = False
    potential: bool = False
    device_class: str | None = None
    device_profile: str | None = None
    node_share: float = 1.0
    instance_types: tuple[str, ...] = ()
    region: str | None = None
    spot: bool = False
    notes: tuple[str, ...] = ()
    driver: int | None = None
    nvlink_domains: tuple[dict[int, int], ...] = ()  # free GPUs of a node: such nodes, by domain

    @classmethod
    def of(cls, pool: GpuPool) -> LockedPool:
        """The pool in the form of the file."""
        price, gpu = pool.price, pool.gpu
        return cls.model_validate(
            {
                "name": pool.name,
                "gpu": gpu.name if gpu else None,
                "part": gpu
                and gpu.parent
                and {
                    "parent": gpu.parent,
                    "share": gpu.parent_share,
                    "computeShare": gpu.parent_compute_share,
                    "hbmBytes": gpu.hbm_bytes,
                    "seenBytes": gpu.seen_bytes,
                    "relative": gpu.relative,
                    "linked": gpu.linked,
                },
                "product": pool.product,
                "source": pool.source,
                "resource": pool.resource,
                "gpusPerNode": pool.gpus_per_node,
                "freeGPUs": _by_count(pool.free_gpus_by_node),
                "usedGPUs": pool.used_gpus,
                "unusableGPUs": pool.unusable_gpus,
                "price": price
                and {
                    "usdPerGPUHour": price.usd_per_gpu_h,
                    "billedGPUs": price.billed_gpus,
                    "source": price.source,
                    "asOf": price.as_of,
                },
                "nodeSelector": dict(pool.node_selector),
                "tolerations": [dict(each) for each in pool.tolerations],
                "shared": pool.shared,
                "potential": pool.potential,
                "deviceClass": pool.device_class,
                "deviceProfile": pool.device_profile,
                "nodeShare": pool.node_share,
                "instanceTypes": list(pool.instance_types),
                "region": pool.region,
                "spot": pool.spot,
                "notes": list(pool.notes),
                "driver": pool.driver,
                "nvlinkDomains": [_by_count(each) for each in pool.nvlink_domains],
            }
        )

    def to_domain(self, catalog: Catalog) -> GpuPool:
        """The pool again; a GPU that the catalogue lost is unknown."""
        gpu = catalog.gpus.get(self.gpu or "")
        return GpuPool(
            name=self.name,
            gpu=self.part.to_domain(str(self.gpu), catalog) if self.part else gpu,
            product=self.product,
            source=self.source,
            resource=self.resource,
            gpus_per_node=self.gpus_per_node,
            free_gpus_by_node=_by_node(self.free_gpus),
            nvlink_domains=tuple(map(_by_node, self.nvlink_domains)),
            used_gpus=self.used_gpus,
            unusable_gpus=self.unusable_gpus,
            price=self.price
            and Price(
                usd_per_gpu_h=self.price.usd_per_gpu_hour,
                billed_gpus=self.price.billed_gpus,
                source=self.price.source,
                as_of=self.price.as_of,
            ),
            node_selector=tuple(self.node_selector.items()),
            tolerations=tuple(tuple(sorted(each.items())) for each in self.tolerations),
            shared=self.shared,
            potential=self.potential,
            device_class=self.device_class,
            device_profile=self.device_profile,
            node_share=self.node_share,
            instance_types=self.instance_types,
            region=self.region,
            spot=self.spot,
            notes=self.notes,
            driver=self.driver,
        )


def _by_count(free_gpus_by_node: tuple[int, ...]) -> dict[int, int]:
    return dict(sorted(Counter(free_gpus_by_node).items()))


def _by_node(nodes: Mapping[int, int]) -> tuple[int, ...]:
    counts = sorted(nodes.items(), reverse=True)
    return tuple(gpus for gpus, count in counts for _ in range(count))


class LockedNode(Locked):
    """A node that was left out, and why."""

    node: str
    reason: str


class LockedInventory(Locked):
    """The cluster as it was found."""

    pools: tuple[LockedPool, ...]
    skipped: tuple[LockedNode, ...] = ()

    @classmethod
    def of(cls, found: Inventory) -> LockedInventory:
        """The inventory in the form of the file, by name."""
        return cls(
            pools=tuple(LockedPool.of(p) for p in sorted(found.pools, key=lambda p: p.name)),
            skipped=tuple(
                LockedNode(node=n.node, reason=n.reason)
                for n in sorted(found.skipped, key=lambda n: n.node)
            ),
        )

    def to_domain(self, catalog: Catalog) -> Inventory:
        """The inventory again."""
        return Inventory(
            pools=tuple(pool.to_domain(catalog) for pool in self.pools),
            skipped=tuple(SkippedNode(node=n.node, reason=n.reason) for n in self.skipped),
        )


class LockedLimits(Locked):
    """The operating point that its manifests hold."""

    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    max_model_len: int
    mixed_chunk: bool = False


class LockedGroup(Locked):
    """One replica group of the deployment that was chosen."""

    pool: str
    framework: str
    checkpoint: str
    precision: str
    kv_cache_dtype: str
    tp: int
    pp: int
    ep: int = 1
    attention_dp: int = 1
    replicas: int
    load_share: float
    limits: LockedLimits | None = None  # of older files: those that are chosen today

    @property
    def key(self) -> LayoutKey:
        """Which replica it repeats."""
        return LayoutKey._make(getattr(self, name) for name in LayoutKey._fields)

    @property
    def operating_point(self) -> Limits | None:
        """What its servers are started with."""
        if self.limits is None:
            return None
        return Limits(**self.limits.model_dump(), kv_cache_dtype=self.kv_cache_dtype)

    @property
    def layout(self) -> tuple[LayoutKey, int, float]:
        """What it is, whatever its servers are started with."""
        return self.key, self.replicas, self.load_share


def locked_groups(best: Evaluation) -> tuple[LockedGroup, ...]:
    """The groups of a deployment in the form of the file."""
    return tuple(locked_group(item.group) for item in best.groups)


def locked_group(group: ReplicaGroup) -> LockedGroup:
    """One group in the form of the file."""
    stated = {name: getattr(group.limits, name) for name in LockedLimits.model_fields}
    return LockedGroup(
        **group.key._asdict(),
        replicas=group.replicas,
        load_share=group.load_share,
        limits=LockedLimits(**stated),
    )


class LockedEngine(Locked):
    """Which engine and which data gave the answer."""

    version: str
    catalog_digest: str
    framework_versions: dict[str, str]
    seed: int = 0


class Lock(Locked):
    """The whole file."""

    api_version: Literal["guide.dev/v1alpha1"]
    kind: Literal["Lock"]
    format: str
    engine: LockedEngine
    plan_digest: str
    files: dict[str, str]  # name -> sha256
    deployment: tuple[LockedGroup, ...]
    inventory: LockedInventory
    model: str | None = None  # the config.json that was given, for a model in no catalogue
    autoscaling: str = "none"  # what scales the Deployment
    benchmark: bool = False  # whether Jobs that measure the deployment were asked for

    def document(self) -> dict[str, Any]:
        """The file as a mapping; what was not found is left out."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True, exclude_defaults=True)


def read_lock(value: Mapping[str, Any]) -> Lock:
    """A lock from its parsed file; `SpecError` with one sentence when it is none."""
    if value.get("kind") != LOCK_KIND:
        raise SpecError(
            f"kind is {shown(value.get('kind'))}, but guide.lock.yaml has kind: {LOCK_KIND}"
        )
    try:
        return Lock.model_validate(value)
    except ValidationError as error:
        where = field_path(error.errors(include_url=False)[0]["loc"])
        raise SpecError(
            f"guide.lock.yaml is not as this version of GUIDE writes it (at {where}): "
            "make the folder again by `guide render`"
        ) from None
