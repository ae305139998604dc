"""What a step is made of: fitted constants and folded facts; `guide.perf.formula` joins them."""

from __future__ import annotations

from typing import NamedTuple

from guide.native import Number
from guide.record import Record


class StepParams(NamedTuple):
    """Fitted constants of a step; see the module docstring.

    Seconds, shares, tokens, exponents.
    """

    share_c: Number  # of the peak, dense GEMMs with many tokens
    ramp: Number  # tokens at which a dense GEMM reaches half its share
    decode_c: Number  # factor on share_c for decode tokens (ROCm and XPU kernels differ there)
    decode_h: Number  # exponent of that factor on hidden size / 4,096
    share_w: Number  # of the bandwidth, weights of dense GEMMs
    share_ec: Number  # of the peak, expert GEMMs
    ramp_e: Number  # tokens per expert at which an expert GEMM reaches half its share
    share_ew: Number  # of the bandwidth, expert weights
    share_kv: Number  # of the bandwidth, KV cache
    gqa: Number  # exponent on heads/kv_heads: how often paged kernels re-read a shared KV head
    v1: Number  # slowdown of the unpartitioned paged kernel, used when sequences fill the GPU
    v1_len: Number  # exponent on its captured context length
    share_a: Number  # of the 16-bit peak, prefill attention
    c0: Number  # s per step
    cl: Number  # s per layer
    cm: Number  # s more per layer with experts (routing, sorting, more kernels)
    cq: Number  # s more per layer that normalises queries and keys, beside measured kernels
    cs: Number  # s per sequence
    cb: Number  # s per context token on the host (block tables)
    cp: Number  # s more for a step that holds a prompt
    clp: Number  # s more per layer for a step that holds a prompt
    ca: Number  # s per all-reduce and level of log2(tp)
    share_l: Number  # of the link, all-reduce payload
    k_dense: Number  # factors on what measured kernels say: GEMMs ...
    k_expert: Number  # ... routed experts ...
    k_network: Number  # ... exchange between GPUs ...
    k_context: Number  # ... decode attention ...
    k_pair: Number  # ... prompt attention ...
    k_prompt: Number  # ... GEMMs of steps that hold a prompt, on top ...
    k_prompt_expert: Number  # ... their routed experts, on top ...
    k_step: Number  # ... and the whole step, host and all: what one model does on one GPU
    p: Number  # exponent of the soft maximum of memory and compute


class ServingParams(NamedTuple):
    """Fitted constants around the engine: what a request pays outside its forward steps."""

    r0: Number  # s per request before its prompt enters the scheduler
    rt: Number  # s per prompt token (tokenising, transport)
    rw: Number  # s per request that arrives in the same instant: the API server takes them in turn
    u: Number  # s per output token (detokenising, streaming) on top of the step


class StepFacts(NamedTuple):
    """The operator table of one layout on one GPU type, folded: no fitted number in it."""

    layers: Number
    expert_layers: Number
    normed_layers: Number  # with query-key norms; 0 where datasheet roofs price the step
    width: Number  # hidden size / 4,096
    dense_s: Number  # weight bytes / bandwidth
    dense_token_s: Number  # FLOPs of a token / peak
    expert_s: Number
    expert_token_s: Number
    experts: Number  # 1 when there are none
    active_share: Number  # active / experts
    expert_tokens: Number  # tokens reach the experts from that many attention ranks
    head_s: Number
    head_sequence_s: Number
    kv_token_s: Number  # at the roof of a context token: its bytes, or its FLOPs (MLA at tp 1)
    window_token_s: Number
    query_groups: Number  # heads / kv heads on one GPU, for paged kernels (1 for FlashAttention)
    paged_heads: Number  # heads on one GPU where kernels are paged, else 0
    captured_length: Number  # context length that CUDA graphs were captured for, relative to 4,096
    pair_s: Number
    window_pair_s: Number
    pair_memory_s: Number  # score-matrix traffic without FlashAttention
    window_pair_memory_s: Number
    elementwise_token_s: Number
    all_reduces: Number  # latency units: 2 x layers x log2(tp)
    all_reduce_token_s: Number
    distinct: Number  # exponent: t tokens route like t**distinct independent ones
    kernel_context_s: Number  # a context token by measured kernels; 0 where datasheet roofs price
    kernel_window_s: Number
    kernel_pair_s: Number
    kernel_window_pair_s: Number
    state_sequence_s: Number = 0.0  # state of linear layers that a sequence reads and writes
    uneven_reach: Number = 0.0  # how far the rank with most experts to read is above the mean ...
    uneven_load: Number = 0.0  # ... and with most tokens to multiply; `guide.perf.routing`


class Traits(Record, frozen=True):
    """What the kernels of a framework and GPU do differently: chooses terms, carries no fit."""

    paged_attention: bool = False  # PagedAttention kernels instead of FlashAttention
    distinct_exponent: float = 1.0  # below 1 when a benchmark repeats one prompt
    kernels: bool = False  # measured kernels price the step (`guide.perf.fits.kernels_price`)


PLAIN = Traits()


class KernelWork(NamedTuple):
    """Seconds of one step by measured kernels: what a fitted factor of its own multiplies."""

    dense: Number
    expert: Number
    network: Number


NO_WORK = KernelWork(0.0, 0.0, 0.0)


def ramp_tokens(f: StepFacts, v: StepParams) -> Number:
    """Tokens of the ramp, but no more than leave a GEMM of one token bound by its weights: what
    other formats and GPUs taught goes beyond that on GPUs with few FLOPs a byte.
    """
    weights_s, token_s = f.dense_s / v.share_w, f.dense_token_s / v.share_c
    spare = weights_s / (token_s + (token_s == 0)) - 1.0
    beyond = v.ramp - spare
    return v.ramp - beyond * ((beyond > 0) & (spare > 0))
