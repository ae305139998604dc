"""Which roof binds: the operator table of a step against compute, memory and network (paper 3.3,
3.4.2)."""

from __future__ import annotations

from guide.domain import (
    Catalog,
    Gpu,
    ModelArch,
    Precision,
    ReplicaGroup,
    ServingReport,
    StepShape,
    Switches,
    Workload,
)
from guide.perf.fits import fit_of
from guide.perf.ops import Layout, Operator, Role, gemm_peak_flop_per_s, layout_of, operator_table
from guide.record import Record


class Roof(Record, frozen=True, kw_only=True):
    """One operator of one step on one GPU, under datasheet roofs."""

    name: str
    flop: float
    bytes: float
    compute_s: float
    memory_s: float
    network_s: float

    @property
    def intensity(self) -> float:
        """Arithmetic intensity, FLOP per byte."""
        return self.flop / self.bytes if self.bytes else 0.0

    @property
    def bound(self) -> str:
        """The roof that binds: compute, memory or network."""
        times = {"compute": self.compute_s, "memory": self.memory_s, "network": self.network_s}
        return max(times, key=lambda name: times[name])

    @property
    def seconds(self) -> float:
        """Time at the binding roof: a lower bound."""
        return max(self.compute_s, self.memory_s, self.network_s)


def roofs(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    shape: StepShape,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> tuple[Roof, ...]:
    """The roofline of every operator of a step of `shape`: lower bounds, without any fit."""
    table = operator_table(arch, precision, layout, kv_cache_dtype, switches)
    return tuple(_roof(row, arch, gpu, precision, layout, shape) for row in table)


def roofs_of(group: ReplicaGroup, shape: StepShape) -> tuple[Roof, ...]:
    """The roofs of a step on one GPU of a replica; `shape` is that of its attention rank."""
    return roofs(
        group.model,
        group.gpu,
        group.precision,
        layout_of(group),
        shape,
        group.limits.kv_cache_dtype,
        group.switches,
    )


def _roof(
    row: Operator,
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    shape: StepShape,
) -> Roof:
    tokens = shape.prefill_tokens + shape.decode_sequences
    flop = moved = network = 0.0
    if row.role in (Role.DENSE, Role.ELEMENTWISE):
        flop, moved = row.flop * tokens, row.weight_bytes + row.bytes * tokens
    elif row.role is Role.EXPERT:
        routed = tokens * layout.attention_ranks
        reached = 1 - (1 - arch.active_experts / arch.experts) ** routed
        flop, moved = row.flop * routed, row.weight_bytes * reached
    elif row.role is Role.STATE:
        moved = row.bytes * (shape.prefill_sequences + shape.decode_sequences)
    elif row.role is Role.HEAD:
        flop, moved = row.flop * shape.sampled_sequences, row.weight_bytes
    elif row.role in (Role.ATTENTION, Role.WINDOW):
        full = row.role is Role.ATTENTION
        pairs = shape.attended_pairs if full else shape.window_pairs
        context = shape.decode_context_tokens if full else shape.decode_window_tokens
        flop = row.flop * pairs + row.context_flop * context
        moved = row.bytes * context + row.pair_bytes * pairs
    elif row.role is Role.ALL_REDUCE:
        network = row.bytes * tokens
    return Roof(
        name=row.name,
        flop=flop,
        bytes=moved,
        compute_s=flop / gemm_peak_flop_per_s(gpu, precision, row.role),
        memory_s=moved / gpu.hbm_bytes_per_s,
        network_s=network / gpu.link.bytes_per_s,
    )


def typical_decode(group: ReplicaGroup, report: ServingReport, workload: Workload) -> StepShape:
    """The decode step of a replica's mean batch, or of the part of it that one attention rank runs,
    each sequence half-way through its output.
    """
    batch = max(1.0, report.batch_mean / group.attention_dp)
    context = workload.prompt.mean_tokens + workload.output.mean_tokens / 2
    window = group.model.window_tokens or 0
    return StepShape(
        decode_sequences=batch,
        decode_context_tokens=batch * context,
        decode_window_tokens=batch * min(context, window),
        sampled_sequences=batch,
    )


def typical_bound(
    group: ReplicaGroup, report: ServingReport, workload: Workload, catalog: Catalog
) -> str:
    """What a typical decode step of a replica waits for: compute, memory, network or overhead."""
    shape = typical_decode(group, report, workload)
    rows = roofs_of(group, shape)
    fit = fit_of(group, catalog).values
    times = {
        "compute": sum(r.compute_s for r in rows) / fit["share_c"],
        "memory": sum(r.memory_s for r in rows) / fit["share_w"],
        "network": sum(r.network_s for r in rows) / fit["share_l"],
        "overhead": fit["c0"] + fit["cl"] * group.model.layers + fit["cs"] * shape.decode_sequences,
    }
    return max(times, key=lambda name: times[name])
