"""What there is to run on and what it costs: GPUs, prices, pools."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec.structs import replace

from guide.record import Record
from guide.units import GIB


class Link(Record, frozen=True, kw_only=True):
    """GPU-to-GPU link inside a node; ``bytes_per_s`` is one direction."""

    kind: str  # nvlink | pcie | xgmi | xelink
    bytes_per_s: float


class Slicing(Record, frozen=True, kw_only=True):
    """Into how many parts the hardware can cut a GPU (MIG, AMD partitions)."""

    compute: int
    memory: int


# The extended resource that a vendor's device plugin offers.
_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU type by its datasheet, a part of one (`guide.catalog.slicing`), or one with
    other memory.

    Peaks are dense, per data type, None where the type is missing.
    """

    name: str
    vendor: str  # nvidia | amd | intel
    generation: str  # volta turing ampere ada hopper blackwell cdna2 cdna3 cdna4 xe-hpc
    aliases: tuple[str, ...] = ()
    hbm_bytes: float  # as the driver reports them
    visible_bytes: float | None = None  # as CUDA or HIP hands them to a process; None: all
    hbm_bytes_per_s: float
    fp16_flop_per_s: float
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None = None
    fp4_flop_per_s: float | None = None
    int8_flop_per_s: float | None = None
    compute_capability: tuple[int, int] | None = None
    link: Link
    source: str
    slicing: Slicing | None = None
    multiprocessors: int | None = None  # streaming multiprocessors, NVIDIA
    relative: str | None = None  # of the same chip and form: it speaks where this has no rows
    parent: str | None = None  # catalogue name of the whole GPU that this is a part of
    parent_share: float = 1.0  # of the parent's memory and bandwidth
    parent_compute_share: float = 1.0
    linked: bool = True  # to its neighbours: slices are not
    seen_bytes: float | None = None  # time-slicing, MPS: memory that others use too

    @property
    def resource(self) -> str:
        """The extended resource by which pods ask for whole GPUs of this vendor."""
        return _RESOURCES[self.vendor]

    @property
    def process_bytes(self) -> float:
        """Memory that a process sees as the total of the GPU."""
        return self.visible_bytes or self.hbm_bytes

    def part(self, name: str, compute_share: float, memory_share: float, hbm_bytes: float) -> Gpu:
        """A part with these shares of the peaks and of the bandwidth, and this much memory."""

        def of(flop_per_s: float | None) -> float | None:
            return None if flop_per_s is None else flop_per_s * compute_share

        return replace(
            self,
            name=name,
            aliases=(),
            hbm_bytes=hbm_bytes,
            visible_bytes=hbm_bytes * self.process_bytes / self.hbm_bytes,
            hbm_bytes_per_s=self.hbm_bytes_per_s * memory_share,
            fp16_flop_per_s=self.fp16_flop_per_s * compute_share,
            bf16_flop_per_s=of(self.bf16_flop_per_s),
            fp8_flop_per_s=of(self.fp8_flop_per_s),
            fp4_flop_per_s=of(self.fp4_flop_per_s),
            int8_flop_per_s=of(self.int8_flop_per_s),
            slicing=None,
            linked=False,
            multiprocessors=self.multiprocessors
            and max(1, round(self.multiprocessors * compute_share)),
            parent=self.parent or self.name,
            parent_share=self.parent_share * memory_share,
            parent_compute_share=self.parent_compute_share * compute_share,
        )

    def with_memory(self, hbm_bytes: float) -> Gpu:
        """The same chip with this much memory: what was measured of it speaks for both."""
        other = self.part(f"{self.name}-{hbm_bytes / GIB:.0f}GiB", 1.0, 1.0, hbm_bytes)
        return replace(other, relative=self.relative or self.name, linked=True)


class Price(Record, frozen=True, kw_only=True):
    """What a GPU costs per hour; ``billed_gpus`` are billed together (`guide.search.pricing`).

    A reference price is the median of ``sellers`` providers between ``low`` and ``high``.
    """

    usd_per_gpu_h: float
    billed_gpus: int = 1
    source: str
    as_of: str
    low_usd_per_gpu_h: float | None = None
    high_usd_per_gpu_h: float | None = None
    sellers: int = 1


class InstancePrice(Record, frozen=True, kw_only=True):
    """What a provider asks for a whole instance."""

    provider: str
    instance_type: str
    region: str | None
    spot: bool
    usd_per_h: float
    source: str
    as_of: str
    gpu: str | None = None  # what it carries, where that is known
    gpus: int | None = None


class PriceList(Record, frozen=True, kw_only=True):
    """Prices of one origin: whole instances by type, and GPUs by catalogue name."""

    instances: Mapping[str, tuple[InstancePrice, ...]]
    gpus: Mapping[str, Price]
    spot_gpus: Mapping[str, Price]


class GpuPool(Record, frozen=True, kw_only=True):
    """Nodes that carry the same GPU in the same way.

    ``gpu`` is None for a product in no catalogue.
    """

    name: str
    gpu: Gpu | None
    product: str  # the raw string of the node label
    source: str  # gfd | amd | gke | ... : which rule of labels.yaml
    resource: str  # extended resource to request, e.g. nvidia.com/gpu
    gpus_per_node: int
    free_gpus_by_node: tuple[int, ...]
    nvlink_domains: tuple[tuple[int, ...], ...] = ()  # of several nodes: the same, domain by domain
    used_gpus: int = 0
    unusable_gpus: int = 0
    price: Price | None = None
    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[
        tuple[tuple[str, str], ...], ...
    ] = ()  # each a sorted tuple of key-value pairs
    shared: bool = False  # time-slicing or MPS: one pod may not hold two
    potential: bool = False  # an autoscaled pool whose nodes do not exist yet
    driver: int | None = None  # branch of the oldest NVIDIA driver of its nodes; None: unknown
    device_class: str | None = None  # DRA: request devices of this class instead of `resource`
    device_profile: str | None = None  # DRA: the MIG profile of the devices
    node_share: float = 1.0  # of the GPUs of a node: below 1 where other pools hold the rest
    instance_types: tuple[str, ...] = ()  # what the cloud calls the nodes
    region: str | None = None
    spot: bool = False
    notes: tuple[str, ...] = ()

    @property
    def free_gpus(self) -> int:
        """GPUs free over all nodes."""
        return sum(self.free_gpus_by_node)

    def replicas_that_fit(self, gpus_per_replica: int, nodes: int = 1) -> int:
        """How many replicas of this many GPUs fit, each over `nodes` nodes in equal parts, of one
        NVLink domain where there are any.
        """
        per_node = gpus_per_replica // nodes
        domains = (nodes > 1 and self.nvlink_domains) or (self.free_gpus_by_node,)
        return sum(_parts(each, per_node) // nodes for each in domains)

    def holds(self, *parts: tuple[int, int]) -> bool:
        """Whether (GPUs of a replica, replicas) fit together, each inside a node."""
        free = list(self.free_gpus_by_node)
        for gpus, count in sorted(parts, reverse=True):  # the larger first
            left = count
            for node, room in enumerate(free):
                placed = min(left, room // gpus)
                free[node] -= placed * gpus
                left -= placed
            if left:
                return False
        return True

    def nodes_for(self, tp: int, pp: int) -> int:
        """Over how many nodes `pp` stages of `tp` GPUs go: whole stages, equally many on each, or
        in an NVLink domain whole nodes for each.
        """
        if self.nvlink_domains and tp > self.gpus_per_node and tp % self.gpus_per_node == 0:
            return pp * tp // self.gpus_per_node
        stages = max(1, self.gpus_per_node // tp)
        return pp // max(n for n in range(1, stages + 1) if pp % n == 0)


class SkippedNode(Record, frozen=True, kw_only=True):
    """A node that carries GPUs but cannot be used, and why."""

    node: str
    reason: str


class Inventory(Record, frozen=True, kw_only=True):
    """What the cluster has, pool by pool, in a stable order."""

    pools: tuple[GpuPool, ...]
    skipped: tuple[SkippedNode, ...] = ()


@lru_cache(maxsize=256)  # a pool may have thousands of nodes, and every layout asks
def _parts(free_gpus_by_node: tuple[int, ...], gpus: int) -> int:
    """Parts of so many GPUs that fit, each inside a node."""
    return sum(free // gpus for free in free_gpus_by_node)
