"""Which candidates exist: pools x frameworks x precisions x TP x PP (paper 3.5.2,
`get_configurations`).

A `Shape` is one replica; how many replicas it takes is worked out later (`guide.search.sizing`).
Shapes larger than what is free are enumerated too, so that their rejections can be counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from msgspec.structs import replace

from guide.domain import (
    SIXTEEN_BIT,
    Catalog,
    Gpu,
    GpuPool,
    Inventory,
    LayoutKey,
    Limits,
    ModelArch,
    Plan,
    Precision,
    Release,
    ReplicaGroup,
    Speculation,
    SpeculationMethod,
    Switches,
    Tolerance,
)
from guide.errors import CatalogError
from guide.frameworks import FRAMEWORKS
from guide.models.drafts import prediction_model
from guide.models.precision import PRECISIONS, own_precision
from guide.record import Record

TENSOR_PARALLEL = (1, 2, 4, 8, 16)
PIPELINE_PARALLEL = (1, 2, 4)
REPLICA_LAYOUTS = tuple((tp, pp) for pp in PIPELINE_PARALLEL for tp in TENSOR_PARALLEL)
EIGHT_BIT = ("fp8", "int8")


class Variant(Record, frozen=True, kw_only=True):
    """A checkpoint and how it is run: weights, GEMMs and KV cache."""

    model: ModelArch
    precision: Precision
    kv_cache_dtype: str = "auto"

    @property
    def loss(self) -> int:
        """Precision given up, see `precision_loss`."""
        return precision_loss(self.model, self.precision, self.kv_cache_dtype)


def precision_loss(model: ModelArch, precision: Precision, kv_cache_dtype: str) -> int:
    """What a way of running gives up: 0 nothing, 1 eight bits somewhere, 2 four bits.

    Only candidates of one plan are compared, so a checkpoint that is itself the model asked for
    loses nothing against the others.
    """
    stored = precision.name
    if model.base is not None and stored not in SIXTEEN_BIT:
        weights = 1 if stored in EIGHT_BIT else 2
    else:
        same = stored == model.precision or {stored, model.precision} <= SIXTEEN_BIT
        weights = 0 if same else 1
    return max(weights, int(kv_cache_dtype != "auto"))


def is_online(model: ModelArch, precision: Precision) -> bool:
    """Whether the server quantises the weights itself, so that nobody published this checkpoint."""
    return precision.name != model.precision and precision.name not in SIXTEEN_BIT


class Shape(Record, frozen=True, kw_only=True, dict=True):
    """One replica of a deployment, its count still open."""

    pool: GpuPool
    gpu: Gpu
    release: Release
    variant: Variant
    tp: int
    pp: int
    switches: Switches
    ep: int = 1
    attention_dp: int = 1
    over_nodes: bool = False
    image: str | None = None  # of its server, where the plan names one
    speculation: Speculation | None = None

    @property
    def image_version(self) -> tuple[int, ...]:
        """The version that runs: of the image's tag, else the one that is modelled."""
        tagged = self.image and FRAMEWORKS[self.release.framework].image_version(self.image)
        return tagged or tuple(int(part) for part in self.release.version.split("."))

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.attention_dp

    @property
    def nodes(self) -> int:
        """Nodes that one replica takes part of."""
        return self.pool.nodes_for(self.tp, self.pp) if self.over_nodes else 1

    @property
    def anywhere(self) -> Shape:
        """The replica on no pool in particular: all that its speed depends on, and nothing else."""
        pool = GpuPool(
            name="",
            gpu=self.gpu,
            product="",
            source="",
            resource="",
            gpus_per_node=self.gpus // self.nodes,
            free_gpus_by_node=(),
            nvlink_domains=((),) if self.pool.nvlink_domains else (),
        )
        return replace(self, pool=pool, over_nodes=False, image=None)

    @cached_property
    def key(self) -> LayoutKey:
        """Which replica it is."""
        v = self.variant
        return LayoutKey(
            pool=self.pool.name,
            framework=self.release.framework,
            checkpoint=v.model.name,
            precision=v.precision.name,
            kv_cache_dtype=v.kv_cache_dtype,
            tp=self.tp,
            pp=self.pp,
            ep=self.ep,
            attention_dp=self.attention_dp,
        )

    def group(self, limits: Limits, replicas: int = 1) -> ReplicaGroup:
        """The shape with its limits, `replicas` times."""
        return ReplicaGroup(
            pool=self.pool,
            framework=self.release.framework,
            version=self.release.version,
            model=self.variant.model,
            precision=self.variant.precision,
            tp=self.tp,
            pp=self.pp,
            replicas=replicas,
            limits=limits,
            switches=self.switches,
            ep=self.ep,
            attention_dp=self.attention_dp,
            speculation=self.speculation,
        )


def shapes(plan: Plan, inventory: Inventory, catalog: Catalog) -> Iterator[Shape]:
    """Every shape that `plan` allows on the known GPUs of `inventory`, in a stable order."""
    releases = releases_of(plan, catalog)
    images = dict(plan.images)
    for pool in considered_pools(plan, inventory):
        if pool.gpu is None:
            continue
        for release in releases:
            for variant in variants(plan, catalog, pool.gpu):
                for tp, pp, ep, attention_dp in _spreads(variant.model, release.framework):
                    speculation = None
                    if pp == attention_dp == 1:  # in others it is not modelled
                        speculation = speculated(plan.speculation, variant.model, release.framework)
                    yield Shape(
                        pool=pool,
                        gpu=pool.gpu,
                        release=release,
                        variant=variant,
                        tp=tp,
                        pp=pp,
                        ep=ep,
                        attention_dp=attention_dp,
                        switches=plan.switches,
                        over_nodes=plan.over_nodes,
                        image=images.get(release.framework),
                        speculation=speculation,
                    )


def speculated(asked: Speculation | None, model: ModelArch, framework: str) -> Speculation | None:
    """How a server of this framework speculates with this checkpoint; None where it cannot."""
    if asked is None or asked.method not in FRAMEWORKS[framework].speculation:
        return None
    if asked.method is not SpeculationMethod.MTP:
        return asked
    layers = prediction_model(model)  # a quantised checkpoint may be without
    return layers and replace(asked, draft=layers)


class Spread(NamedTuple):
    """How a replica goes over its GPUs."""

    tp: int
    pp: int
    ep: int = 1
    attention_dp: int = 1


def _spreads(model: ModelArch, framework: str) -> Iterator[Spread]:
    """The spreads of a replica: TP x PP, and for experts those that deal them out whole.

    Attention in data parallel pays where tensor parallelism would copy what it cannot split: the
    cache of a latent, or of fewer KV heads than GPUs.
    """
    yield from (Spread(tp, pp) for tp, pp in REPLICA_LAYOUTS)
    if not (model.experts and FRAMEWORKS[framework].expert_parallel):
        return
    kv_heads = min(1 if one.mla else one.kv_heads for one in model.attentions)
    for ep in TENSOR_PARALLEL[1:]:
        if model.experts % ep:
            continue
        yield Spread(ep, 1, ep)
        if ep > kv_heads:
            yield from (Spread(tp, 1, ep, ep // tp) for tp in TENSOR_PARALLEL if tp < ep)


class Configuration(NamedTuple):
    """A hybrid-parallel layout: `dp` replicas, each of `tp` x `pp` GPUs."""

    dp: int
    tp: int
    pp: int

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.dp * self.tp * self.pp


def get_configurations(pool: GpuPool, max_gpus: int | None = None) -> Iterator[Configuration]:
    """Every DP x TP x PP that the free GPUs of `pool` hold, each replica on one node (P12).

    The same layouts as `shapes` tries; DP runs up to what fits.
    """
    for tp, pp in REPLICA_LAYOUTS:
        if pool.shared and tp * pp > 1:
            continue
        most = pool.replicas_that_fit(tp * pp)
        if max_gpus is not None:
            most = min(most, max_gpus // (tp * pp))
        for dp in range(1, most + 1):
            yield Configuration(dp, tp, pp)


def considered_pools(plan: Plan, inventory: Inventory) -> list[GpuPool]:
    """The pools that placement leaves, by name: the order of nodes never matters.

    The name of a GPU allows its slices too; the name of a slice allows that one alone.
    """
    pools = sorted(inventory.pools, key=lambda pool: pool.name)
    if not plan.gpus:
        return pools
    return [
        pool
        for pool in pools
        if pool.gpu is not None and {pool.gpu.name, pool.gpu.parent} & set(plan.gpus)
    ]


def variants(plan: Plan, catalog: Catalog, gpu: Gpu) -> Iterator[Variant]:
    """The checkpoints and precisions that the plan's tolerance allows on `gpu`.

    Lossless keeps the checkpoint's own precision (bf16 as fp16 where the GPU has no bf16). FP8 adds
    8-bit weights (weight only where the GPU multiplies no FP8) and, on its own or beside them, an
    8-bit KV cache where attention reads one; INT4 also catalogue checkpoints with 4-bit weights
    made from the model.
    """
    model = plan.model
    own = own_precision(model)
    if own.name == "bf16" and gpu.bf16_flop_per_s is None:
        own = PRECISIONS["fp16"]
    yield Variant(model=model, precision=own)
    if plan.tolerance is Tolerance.LOSSLESS:
        return
    served = [(model, own)]
    if own.name in SIXTEEN_BIT:
        served.append((model, PRECISIONS["fp8"]))
        yield Variant(model=model, precision=PRECISIONS["fp8"])
    for derived in checkpoints_of(model, catalog):
        if derived.precision in EIGHT_BIT or plan.tolerance is Tolerance.INT4:
            served.append((derived, own_precision(derived)))
            yield Variant(model=derived, precision=own_precision(derived))
    if caches_fp8(gpu):
        for checkpoint, precision in served:
            yield Variant(model=checkpoint, precision=precision, kv_cache_dtype="fp8")


def caches_fp8(gpu: Gpu) -> bool:
    """Whether attention reads an FP8 cache at the speed that is modelled.

    FlashAttention 2 reads none and Triton needs compute capability 8.9 (vLLM 0.33,
    v1/attention/backends/triton_attn.py:515); FlashInfer would on Ampere, which nobody measured.
    """
    return gpu.fp8_flop_per_s is not None


def checkpoints_of(model: ModelArch, catalog: Catalog) -> list[ModelArch]:
    """The catalogue's checkpoints that were quantised from `model`, by name."""
    derived = [other for other in catalog.models.values() if other.base == model.name]
    return sorted(derived, key=lambda other: other.name)


def releases_of(plan: Plan, catalog: Catalog) -> list[Release]:
    """The release of each framework that the plan allows, or that is known, by name."""
    known = {release.framework for release in catalog.releases}
    return [modelled_release(catalog, name) for name in sorted(plan.frameworks or known)]


def modelled_release(catalog: Catalog, framework: str) -> Release:
    """The newest release of `framework` that the catalogue describes."""
    known = [release for release in catalog.releases if release.framework == framework]
    if not known:
        raise CatalogError(f"the catalogue describes no release of {framework}")
    return max(known, key=lambda release: release.since)
