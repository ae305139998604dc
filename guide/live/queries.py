"""PromQL over the metrics of vLLM, by names that changed between releases (pure).

Dashboards, rules and the operator use the same expressions. `selector` is what stands between the
braces; series carry `namespace` and `plan` by relabelling (docs/monitoring.md).
"""

from __future__ import annotations

from collections.abc import Iterable

# quantity -> histograms that tell it, the best first. vLLM 0.13 dropped time_per_output_token.
HISTOGRAMS: dict[str, tuple[str, ...]] = {
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
}
BY_PLAN = ("namespace", "plan")
FAILED = 'finished_reason=~"abort|error"'
_SUCCESS = "vllm:request_success_total"


def mean(quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The mean of a quantity over `window`: sums over counts, exact whatever the buckets."""
    return _either(
        f"{_sum(by, f'{name}_sum', selector, window)}"
        f" / ({_sum(by, f'{name}_count', selector, window)} > 0)"
        for name in HISTOGRAMS[quantity]
    )


def quantile(
    share: float, quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN
) -> str:
    """A quantile of a quantity, as exact as its buckets are narrow."""
    return _either(
        f"histogram_quantile({share:g}, {_sum((*by, 'le'), f'{name}_bucket', selector, window)})"
        for name in HISTOGRAMS[quantity]
    )


def count(quantity: str, selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """How many values of a quantity came within `window`."""
    return _either(
        f"sum by ({', '.join(by)}) (increase({name}_count{{{selector}}}[{window}]))"
        for name in HISTOGRAMS[quantity]
    )


def requests_per_second(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests that ended, per second."""
    return _sum(by, _SUCCESS, selector, window)


def output_tokens_per_second(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Output tokens per second."""
    return _sum(by, "vllm:generation_tokens_total", selector, window)


def error_ratio(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The share of requests that were aborted or failed; 0 where no such series exists yet."""
    every = _sum(by, _SUCCESS, selector, window)
    failed = _sum(by, _SUCCESS, ", ".join(part for part in (selector, FAILED) if part), window)
    return f"({failed} or 0 * {every}) / ({every} > 0)"


def waiting(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in the queues."""
    return f"sum by ({', '.join(by)}) (vllm:num_requests_waiting{{{selector}}})"


def running(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in batches."""
    return f"sum by ({', '.join(by)}) (vllm:num_requests_running{{{selector}}})"


def in_flight(selector: str, ago: str = "", by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests in queues and batches, now or `ago`."""
    names = '__name__=~"vllm:num_requests_(running|waiting)"'
    offset = f" offset {ago}" if ago else ""
    return f"sum by ({', '.join(by)}) ({{{names}, {selector}}}{offset})"


def kv_usage(selector: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The fullest KV cache, as a share."""
    names = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
    return _either(f"max by ({', '.join(by)}) ({name}{{{selector}}})" for name in names)


def prefix_hit_share(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """The share of prompt tokens that the prefix cache held."""
    hits = _sum(by, "vllm:prefix_cache_hits_total", selector, window)
    return f"{hits} / ({_sum(by, 'vllm:prefix_cache_queries_total', selector, window)} > 0)"


def preemptions(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """Requests that lost their KV cache within `window`."""
    series = f"vllm:num_preemptions_total{{{selector}}}"
    return f"sum by ({', '.join(by)}) (increase({series}[{window}]))"


def pods(selector: str, ago: str = "", by: tuple[str, ...] = BY_PLAN) -> str:
    """How many pods reported, now or `ago`."""
    offset = f" offset {ago}" if ago else ""
    return f"count by ({', '.join(by)}) (vllm:num_requests_running{{{selector}}}{offset})"


def restarts(selector: str, window: str, by: tuple[str, ...] = BY_PLAN) -> str:
    """How often a counter began anew within `window`: a pod was started again."""
    name = f"{HISTOGRAMS['ttft'][0]}_count"
    return f"sum by ({', '.join(by)}) (resets({name}{{{selector}}}[{window}]))"


def _sum(by: tuple[str, ...], name: str, selector: str, window: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({name}{{{selector}}}[{window}]))"


def _either(expressions: Iterable[str]) -> str:
    options = list(expressions)
    return options[0] if len(options) == 1 else " or ".join(f"({one})" for one in options)
