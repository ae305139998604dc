"""What servers export, by quantity: the names of each framework, the best first.

Names changed between releases, so each quantity has all that ever told it; a server exports one.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from guide.record import Record


class MetricNames(Record, frozen=True, kw_only=True):
    """Metric families of a framework; counters with `_total`, as Prometheus shows them."""

    histograms: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    ended: str  # requests
    failed: str  # a selector of `ended`, or a counter of its own
    output_tokens: str
    running: str
    waiting: str
    kv_share: tuple[str, ...]
    prefix: tuple[str, str]  # tokens found, tokens asked for
    preemptions: str
    # gauges of a start, one GPU's: weights_gib, kv_gib, kv_tokens, graphs_gib, start_s
    started: Mapping[str, str] = field(default_factory=dict[str, str])


# vLLM 0.13 dropped time_per_output_token; the proxy of FastGen exports the same names.
USUAL = MetricNames(
    histograms={
        "ttft": ("vllm:time_to_first_token_seconds",),
        "tpot": (
            "vllm:request_time_per_output_token_seconds",
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ),
        "e2e": ("vllm:e2e_request_latency_seconds",),
        "queue": ("vllm:request_queue_time_seconds",),
        "prompt": ("vllm:request_prompt_tokens",),
        "output": ("vllm:request_generation_tokens",),
    },
    ended="vllm:request_success_total",
    failed='finished_reason=~"abort|error"',
    output_tokens="vllm:generation_tokens_total",
    running="vllm:num_requests_running",
    waiting="vllm:num_requests_waiting",
    kv_share=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    prefix=("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    preemptions="vllm:num_preemptions_total",
)
