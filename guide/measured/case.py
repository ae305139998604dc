"""From a measurement to everything that a replay needs: facts, scheduler, requests, fit levels."""

from __future__ import annotations

import re

from guide.catalog import find_gpu, release
from guide.domain import (
    Catalog,
    Gpu,
    Limits,
    ModelArch,
    Precision,
    Reason,
    Release,
    SchedulerPolicy,
    Scheduling,
)
from guide.frameworks import FRAMEWORKS
from guide.measured.load import Load, load_of
from guide.measured.measurements import CSV_PRECISION, Measurement
from guide.measured.protocols import Protocol, protocol_of, version_dates
from guide.models.precision import PRECISIONS
from guide.perf.belonging import Key, levels, version_family
from guide.perf.fits import kernels_price
from guide.perf.kernels.curves import Curves
from guide.perf.memory import fit_memory
from guide.perf.ops import Layout
from guide.perf.step import fold, priced_by_kernels
from guide.perf.terms import StepFacts, Traits
from guide.record import Record
from guide.simulate.policy import scheduler_policy
from guide.units import GIB


class Unanswerable(Record, frozen=True, kw_only=True):
    """A row that the engine cannot answer, and why."""

    reason: Reason | None = None  # None: the row contradicts itself
    detail: str


class Case(Record, frozen=True, kw_only=True):
    """One measurement made ready for simulation.

    Arrays hold one value a request of one replica.
    """

    row: Measurement
    protocol: Protocol
    gpu: Gpu
    model: ModelArch
    precision: Precision
    facts: StepFacts
    priced: Curves | None  # by measured kernels
    policy: SchedulerPolicy
    keys: tuple[Key, ...]
    load: Load

    def key(self, level: str) -> Key:
        """Where the case stands on one level of the fits; the key is empty if nowhere."""
        return next((key for key in self.keys if key[0] == level), (level, ""))


def build(row: Measurement, catalog: Catalog, known: Protocol | None = None) -> Case | Unanswerable:
    """Prepare the replay of a measurement, or say why it cannot be answered.

    `known` is the protocol of a run whose file states it; else protocols.yaml tells.
    """
    gpu = find_gpu(catalog, row.gpu)
    if gpu is None:
        return Unanswerable(reason=Reason.UNKNOWN_GPU, detail=f"GPU '{row.gpu}' is in no catalogue")
    model = catalog.models.get(row.model)
    if model is None:
        return Unanswerable(
            reason=Reason.UNSUPPORTED_MODEL, detail=f"model '{row.model}' is in no catalogue"
        )
    name = CSV_PRECISION.get(row.precision, row.precision) or model.precision
    precision = PRECISIONS.get(name)
    if precision is None:
        return Unanswerable(
            reason=Reason.UNSUPPORTED_PRECISION, detail=f"precision '{row.precision}' is unknown"
        )
    if model.heads % row.tp:
        return Unanswerable(
            reason=Reason.HEADS_NOT_DIVISIBLE,
            detail=f"{model.heads} attention heads do not divide over tp = {row.tp}",
        )
    protocol = known or protocol_of(row)
    version = version_of(row, protocol)
    behaviour = release(catalog, row.framework, ".".join(map(str, version)) or None)
    layout = _layout(row, model, protocol)
    kv_dtype = "fp8" if (row.kv_dtype or protocol.kv_dtype) == "fp8" else "auto"
    engine = behaviour.engine
    traits = Traits(
        kernels=kernels_price(catalog.fits, gpu, engine),
        paged_attention=_paged(gpu, model, behaviour, kv_dtype),
        distinct_exponent=protocol.distinct_exponent,
    )
    facts = fold(model, gpu, precision, layout, kv_dtype, traits=traits)
    policy = _policy(
        row,
        protocol,
        model,
        gpu=gpu,
        precision=precision,
        layout=layout,
        behaviour=behaviour,
        kv_dtype=kv_dtype,
    )
    return Case(
        row=row,
        protocol=protocol,
        gpu=gpu,
        model=model,
        precision=precision,
        facts=facts,
        priced=priced_by_kernels(model, gpu, precision, layout, kv_dtype)
        if traits.kernels
        else None,
        policy=policy,
        keys=tuple(
            levels(
                gpu,
                engine,
                precision,
                model,
                version=version_family(row.framework, version),
                source=row.source,
                kv_kernel="paged-fp8" if traits.paged_attention and kv_dtype == "fp8" else "",
                kernels=traits.kernels,
            )
        ),
        load=load_of(row, protocol, layout.attention_ranks),
    )


def version_of(row: Measurement, protocol: Protocol) -> tuple[int, ...]:
    """The version that a row ran: as published, else the one current at its date."""
    stated = parse_version(protocol.version or row.version)
    if stated or not row.date:
        return stated
    current = [r.version for r in version_dates(row.framework) if r.since <= row.date]
    return parse_version(current[-1]) if current else ()


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted version in a published version string; empty when there is none."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _layout(row: Measurement, model: ModelArch, protocol: Protocol) -> Layout:
    """Attention under tp; experts over all GPUs of the replica, which the note's moe_tp tells."""
    moe_tp = row.noted(r"moe_tp=(\d+)")
    ranks = 1
    if model.experts and moe_tp and protocol.expert_ranks_noted:
        ranks = max(1, int(moe_tp) * row.ep // row.tp)
    spread = row.ep if model.experts else 1
    return Layout(tp=row.tp, pp=row.pp, attention_ranks=ranks, expert_parallel=spread)


def _paged(gpu: Gpu, model: ModelArch, behaviour: Release, kv_dtype: str) -> bool:
    """PagedAttention kernels decode in V0 on AMD and Intel, under a sliding window, and with an FP8
    cache."""
    if behaviour.scheduling is not Scheduling.PREFILL_FIRST:
        return False
    return gpu.vendor != "nvidia" or bool(model.window_layers) or kv_dtype == "fp8"


def _policy(
    row: Measurement,
    protocol: Protocol,
    model: ModelArch,
    *,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    behaviour: Release,
    kv_dtype: str,
) -> SchedulerPolicy:
    framework = FRAMEWORKS[behaviour.framework]
    longest_context = model.max_context_tokens
    own = framework.limits_of(behaviour, gpu, model, row.tp, row.pp, longest_context)
    seqs = (
        row.noted(r"(?:max_num_seqs|max-running-requests)[ =](\d+)")
        or protocol.max_num_seqs
        or own.max_num_seqs
    )
    budget = (
        row.noted(r"(?:max_(?:num_)?batched_tokens|chunked-prefill-size)[ =](\d+)")
        or protocol.token_budget
        or protocol.token_budget_per_prompt * row.prompt_tokens
        or own.max_num_batched_tokens
    )
    if behaviour.scheduling is Scheduling.PREFILL_FIRST:
        budget = max(budget, 2048, min(model.max_context_tokens, 32768))
    limits = Limits(
        max_num_seqs=int(seqs),
        max_num_batched_tokens=int(budget),
        gpu_memory_utilization=row.noted(r"mem-fraction-static[ =]([\d.]+)")
        or own.gpu_memory_utilization,
        max_model_len=model.max_context_tokens,
        kv_cache_dtype=kv_dtype,
    )
    memory = fit_memory(model, gpu, precision, layout, limits, behaviour)
    capacity = memory.kv_capacity_tokens - protocol.reserve_bytes / memory.kv_bytes_per_token
    noted_gib = row.noted(r"Available KV cache memory[^:]*: ([\d.]+) GiB")
    if noted_gib:
        capacity = noted_gib * GIB / memory.kv_bytes_per_token
    noted_tokens = row.noted(r"kv tokens (\d+)")
    noted_blocks = row.noted(r"kv blocks (\d+)")
    if noted_tokens or noted_blocks:
        capacity = noted_tokens or (noted_blocks or 0) * memory.block_tokens
    # a published run proves that its longest request fitted, whatever the memory model thinks, and
    # that one of the stated limit did: the engine refuses to start otherwise
    stated = row.noted(r"--max-model-len[ =](\d+)") or 0
    longest = max(row.prompt_tokens + row.output_tokens, stated)
    capacity /= layout.pp  # virtual engines share the blocks
    blocks = max(capacity, longest + 2 * memory.block_tokens) // memory.block_tokens
    return scheduler_policy(
        behaviour,
        max_num_seqs=int(seqs),
        token_budget=int(budget),
        block_tokens=memory.block_tokens,
        kv_blocks=int(blocks),
        mixed_chunk=bool(row.noted(r"enable-mixed-chunk[ =](\d)")),
    )
