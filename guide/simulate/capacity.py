"""What one replica of a layout can do, without simulation: the cost of its steps, its latency on an
empty server, and the requests a second that it sustains."""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from guide.domain import (
    Catalog,
    Gpu,
    MemoryFit,
    ModelArch,
    Precision,
    ReplicaGroup,
    Speculation,
    SpeculationMethod,
    Switches,
    Workload,
)
from guide.models.precision import own_precision
from guide.perf.adjust import mean_context_tokens
from guide.perf.drafting import one_pass, verified
from guide.perf.fits import ServingParams, engine_for, kernels_price, resolve
from guide.perf.ops import Layout, layout_of
from guide.perf.pipeline import heaviest_stages, hops
from guide.perf.step import fold, priced_by_kernels
from guide.perf.terms import StepFacts, StepParams, Traits
from guide.simulate.cost import LayoutCost
from guide.simulate.pipeline import PipelineCost
from guide.simulate.policy import policy_of
from guide.simulate.ranks import RankedCost
from guide.simulate.speculation import SpeculativeCost
from guide.simulate.tasks import (
    Stepping,
    Task,
    decode_task,
    prefill_task,
    stepping_of,
    task_seconds,
)

# the engine's own work on a step and its sequences, which drafts do not repeat
BESIDE_DRAFTS = dict.fromkeys(("c0", "cs", "cb"), 0.0)


def layout_cost(group: ReplicaGroup, catalog: Catalog) -> tuple[LayoutCost, ServingParams]:
    """The step cost of a group's replica and what requests pay around it."""
    return _cost(
        *(catalog, group.gpu, group.framework, group.version, group.precision),
        model=group.model,
        layout=layout_of(group),
        kv_cache_dtype=group.limits.kv_cache_dtype,
        switches=group.switches,
        # an NVLink domain of several nodes is like one node
        nodes=1
        if group.pp == 1 or group.pool.nvlink_domains
        else group.pool.nodes_for(group.tp, group.pp),
        token_budget=group.limits.max_num_batched_tokens if group.pp > 1 else 0,
        speculation=group.speculation,
    )


# keyed by what it depends on: a pool lists its nodes, and there may be thousands
@lru_cache(maxsize=1024)
def _cost(
    catalog: Catalog,
    gpu: Gpu,
    framework: str,
    version: str,
    precision: Precision,
    *,
    model: ModelArch,
    layout: Layout,
    kv_cache_dtype: str,
    switches: Switches,
    nodes: int,
    token_budget: int,
    speculation: Speculation | None,
) -> tuple[LayoutCost, ServingParams]:
    fit = resolve(catalog, gpu, framework, version, precision, model).values
    step = StepParams(**{name: fit[name] for name in StepParams._fields})
    serving = ServingParams(**{name: fit[name] for name in ServingParams._fields})
    engine = engine_for(catalog, framework, version)
    traits = Traits(kernels=kernels_price(catalog.fits, gpu, engine))
    spread = replace(layout, pp=1)  # over the GPUs of a stage: a table knows of no others

    def cost(
        arch: ModelArch,
        head: bool = True,
        stored: Precision = precision,
        params: StepParams = step,
    ) -> LayoutCost:
        facts = fold(arch, gpu, stored, spread, kv_cache_dtype, switches, traits)
        priced = None
        if traits.kernels:
            priced = priced_by_kernels(arch, gpu, stored, spread, kv_cache_dtype)
        if not head:
            facts = facts._replace(head_s=0.0, head_sequence_s=0.0)
            priced = priced and priced.without_head()
        return LayoutCost(facts, params, priced)

    def read_at_once(one: LayoutCost, arch: ModelArch, stored: Precision) -> StepFacts:
        assert speculation is not None
        return verified(
            *(one.facts, speculation.queries, arch, gpu, stored, layout),
            kv_cache_dtype=kv_cache_dtype,
            switches=switches,
        )

    whole = cost(model)
    if speculation is not None:
        drafting = reading = None
        if (draft := one_pass(speculation)) is not None:
            stored = (
                precision if speculation.method is SpeculationMethod.MTP else own_precision(draft)
            )
            drafting = cost(draft, stored=stored, params=step._replace(**BESIDE_DRAFTS))
            reading = read_at_once(drafting, draft, stored)
        speculative = SpeculativeCost(
            *(whole, read_at_once(whole, model, precision), drafting, reading),
            tokens=speculation.tokens,
            tokens_per_step=speculation.tokens_per_step,
        )
        return speculative, serving
    if layout.attention_ranks > 1:
        return RankedCost(whole, layout.attention_ranks), serving
    if layout.pp == 1:
        return whole, serving
    staged = PipelineCost(
        whole,
        lambda: [cost(stage.arch, stage.head) for stage in heaviest_stages(model, layout.pp)],
        hops(model, gpu, layout.pp, nodes, step),
        batches=layout.pp,
        token_budget=token_budget,
    )
    return staged, serving


def request_tokens(workload: Workload) -> float:
    """Tokens of a mean request at its end."""
    return workload.prompt.mean_tokens + workload.output.mean_tokens


def computed_tokens(workload: Workload) -> float:
    """Tokens of a mean prompt that the prefix cache does not hold."""
    return max(1.0, workload.prompt.mean_tokens * (1 - workload.prefix_hit_share))


def zero_load(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> tuple[float, float]:
    """TTFT and TPOT of a mean request on an empty server, in seconds: lower bounds."""
    (cost, serving), stepping = layout_cost(group, catalog), stepping_of(group)
    prompt = computed_tokens(workload)
    policy = policy_of(group, memory, catalog, request_tokens(workload))
    alone = prefill_task(stepping, prompt, 0, policy.token_budget)
    ttft_s = _first_token_s(alone, prompt, cost, serving)
    context = mean_context_tokens(workload.prompt.mean_tokens, workload.output.mean_tokens)
    return ttft_s, task_seconds(decode_task(stepping, 1, context, 1), cost) + serving.u


def _first_token_s(
    alone: Task, prompt_tokens: float, cost: LayoutCost, serving: ServingParams
) -> float:
    return task_seconds(alone, cost) + serving.r0 + serving.rt * prompt_tokens


def peak_prefill(group: ReplicaGroup, catalog: Catalog) -> float:
    """Prompt tokens/s of one replica that does nothing else: a full step of prompts, none of it
    seen before, over the time to its first token.

    So do routers calibrate: one prompt as long as a step, sent to an idle server.
    """
    (cost, serving), stepping = layout_cost(group, catalog), stepping_of(group)
    prompt = min(group.limits.max_num_batched_tokens, group.limits.max_model_len)
    task = prefill_task(stepping, prompt, 0, prompts=stepping.at_once)
    return stepping.at_once * prompt / _first_token_s(task, prompt, cost, serving)


@lru_cache(maxsize=2**12)  # the same at every load, to every what-if
def prompt_seconds(
    cost: LayoutCost, stepping: Stepping, prompt: float, decodes: int, at_once: int
) -> float:
    """Seconds that one of `at_once` prompts adds to the steps they are computed in, beside
    `decodes` running sequences. Nothing where a handful of tokens costs less than the switch of
    kernels that comes with a prompt saves."""
    task = prefill_task(stepping, prompt, decodes, prompts=at_once)
    alone = task_seconds(decode_task(stepping, decodes, 0, task.steps), cost) if decodes else 0.0
    return max(task_seconds(task, cost) - alone, 0.0) / at_once


def saturation(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> float:
    """Requests/s of one replica that never idles: a steady-state estimate without simulation."""
    cost, _ = layout_cost(group, catalog)
    batch = largest_batch(group, memory, workload)
    return rate_of(cost, stepping_of(group), workload, batch)


def largest_batch(group: ReplicaGroup, memory: MemoryFit, workload: Workload) -> int:
    """Sequences that a replica runs at once when more than enough wait."""
    prompt, output = workload.prompt.mean_tokens, workload.output.mean_tokens
    context = mean_context_tokens(prompt, output)
    if workload.prefixes is not None:  # at the most: those who run hold what they share once
        context = max(1.0, context - workload.prefixes.shared_tokens)
    held = memory.held_tokens(prompt + output) / context
    return int(max(1, min(group.most_sequences, held)))


def rate_of(cost: LayoutCost, stepping: Stepping, workload: Workload, batch: int) -> float:
    """Requests/s of a replica that always runs `batch` sequences.

    A request costs its share of `output` decode steps and its own prompt:
    rate = 1 / (output x step(b) / b + prompt(b)).
    """
    prompt, output = workload.prompt.mean_tokens, workload.output.mean_tokens
    return _rate(cost, stepping, prompt, output, computed_tokens(workload), batch)


@lru_cache(maxsize=4096)  # no load is part of it, so all loads ask about the same batches
def _rate(
    cost: LayoutCost,
    stepping: Stepping,
    prompt: float,
    output: float,
    computed: float,
    batch: int,
) -> float:
    context = mean_context_tokens(prompt, output)
    decode_s = task_seconds(decode_task(stepping, batch, context, output), cost)
    # in a pipeline, or beside other attention ranks, prompts of the same time share a step
    at_once = max(1, min(stepping.at_once, round(batch / max(1.0, output))))
    prompt_s = prompt_seconds(cost, stepping, computed, batch, at_once)
    return 1.0 / (decode_s / batch + prompt_s)
