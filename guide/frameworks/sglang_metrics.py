"""The metric families of SGLang, which are off without --enable-metrics."""

from __future__ import annotations

from guide.frameworks.metrics import MetricNames

# Of the wheels 0.4.0 to 0.5.23: the time of a request per token is there since 0.5.22, the gap
# between tokens since 0.4.3, the queue since 0.5.3, token histograms since 0.4.6, retractions since
# 0.5.7. Labels such as is_streaming (0.5.17) and cache_source (0.5.9) are summed away.
NAMES = MetricNames(
    histograms={
        "ttft": ("sglang:time_to_first_token_seconds",),
        "tpot": (
            "sglang:request_time_per_output_token_seconds",
            "sglang:inter_token_latency_seconds",
        ),
        "e2e": ("sglang:e2e_request_latency_seconds",),
        "queue": ("sglang:queue_time_seconds",),
        "prompt": ("sglang:prompt_tokens_histogram",),
        "output": ("sglang:generation_tokens_histogram",),
    },
    ended="sglang:num_requests_total",
    failed="sglang:num_aborted_requests_total",
    output_tokens="sglang:generation_tokens_total",
    running="sglang:num_running_reqs",
    waiting="sglang:num_queue_reqs",
    kv_share=("sglang:token_usage",),
    prefix=("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
    preemptions="sglang:num_retracted_requests_total",
    started={  # since 0.5.17, the tokens since 0.5.6; what it calls GB is 2**30 bytes
        "weights_gib": "sglang:weight_memory_usage_gb",
        "kv_gib": "sglang:kv_cache_memory_usage_gb",
        "kv_tokens": "sglang:max_total_num_tokens",
        "graphs_gib": "sglang:graph_memory_usage_gb",
        "start_s": 'sglang:startup_time_seconds{phase="tokenizer_e2e"}',
    },
)
