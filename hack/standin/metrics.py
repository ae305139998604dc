"""The metric families of a vLLM server, by the names and buckets of the real one.

One set for whoever pretends to be vLLM: the server of this folder in real time, and
`hack.fake_vllm` with simulated requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from guide.frameworks.base import DEFAULT_BUCKETS

# As text 0.0.4, always: as OpenMetrics, prometheus_client writes a colon as an underscore.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
TOKENS = tuple(m * 10**k for k in range(6) for m in (1, 2, 5))
OLD_TPOT = ("vllm:time_per_output_token_seconds",)  # before vLLM 0.13
NEW_TPOT = ("vllm:request_time_per_output_token_seconds", "vllm:inter_token_latency_seconds")
ENDS = ("stop", "length", "abort", "error")


class Served(NamedTuple):
    """One request at the moment when it ends; times in seconds, lengths in tokens."""

    end_s: float
    start_s: float
    prompt: int
    output: int
    ttft_s: float
    tpot_s: float
    e2e_s: float
    queue_s: float
    cached: int = 0  # of the prompt, found in the prefix cache


class ServerMetrics:
    """All families of one server, in a registry of its own; `old` names are those before 0.13."""

    def __init__(
        self,
        model: str,
        *,
        old: bool = False,
        buckets: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """`buckets` are those of ``--custom-histogram-buckets``, by the names used there."""
        self.registry = CollectorRegistry()
        self._labels = {"model_name": model, "engine": "0"}
        self._made: dict[str, Any] = {}
        self._buckets = {**DEFAULT_BUCKETS, **(buckets or {})}
        self._tpot = OLD_TPOT if old else NEW_TPOT
        self._kv = "vllm:gpu_cache_usage_perc" if old else "vllm:kv_cache_usage_perc"
        self.show(running=0, waiting=0, kv_share=0)
        self._counter("vllm:num_preemptions")
        for reason in ENDS:
            self._counter("vllm:request_success", finished_reason=reason)

    def show(self, *, running: int, waiting: int = 0, kv_share: float = 0.0) -> None:
        """What is in the server now."""
        self._gauge("vllm:num_requests_running").set(running)
        self._gauge("vllm:num_requests_waiting").set(waiting)
        self._gauge(self._kv).set(min(1.0, kv_share))

    def record(self, one: Served, reason: str = "stop") -> None:
        """Count a request that has ended."""
        self._latency("time_to_first_token", "vllm:time_to_first_token_seconds", one.ttft_s)
        for name in self._tpot:
            self._latency("inter_token_latency", name, one.tpot_s)
        self._latency("request_latency", "vllm:e2e_request_latency_seconds", one.e2e_s)
        self._latency("request_latency", "vllm:request_queue_time_seconds", one.queue_s)
        for name, tokens in (("prompt", one.prompt), ("generation", one.output)):
            full = f"vllm:request_{name}_tokens"
            self._labelled(Histogram, full, {}, buckets=TOKENS).observe(tokens)
            self._counter(f"vllm:{name}_tokens").inc(tokens)
        self._counter("vllm:prefix_cache_queries").inc(one.prompt)
        self._counter("vllm:prefix_cache_hits").inc(one.cached)
        self._counter("vllm:request_success", finished_reason=reason).inc()

    def fail(self) -> None:
        """Count a request that ended in an error."""
        self._counter("vllm:request_success", finished_reason="error").inc()

    def text(self) -> bytes:
        """What ``/metrics`` serves, as CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _latency(self, kind: str, name: str, seconds: float) -> None:
        self._labelled(Histogram, name, {}, buckets=self._buckets[kind]).observe(seconds)

    def _counter(self, name: str, **more: str) -> Any:
        return self._labelled(Counter, name, more)

    def _gauge(self, name: str) -> Any:
        return self._labelled(Gauge, name, {})

    def _labelled(self, kind: Any, name: str, more: dict[str, str], **options: Any) -> Any:
        labels = {**self._labels, **more}
        if name not in self._made:
            self._made[name] = kind(name, name, list(labels), registry=self.registry, **options)
        return self._made[name].labels(**labels)
