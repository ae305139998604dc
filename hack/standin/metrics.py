"""The metric families of a server, by the names and buckets of the real one: vLLM or another.

One set for whoever pretends to be one: the server of this folder in real time, and
`hack.fake_vllm` with simulated requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from guide.frameworks.base import DEFAULT_BUCKETS
from guide.frameworks.metrics import USUAL, MetricNames

# As text 0.0.4, always: as OpenMetrics, prometheus_client writes a colon as an underscore.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
TOKENS = tuple(m * 10**k for k in range(6) for m in (1, 2, 5))
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
        names: MetricNames = USUAL,
    ) -> None:
        """`buckets` are those of ``--custom-histogram-buckets``, by the names used there."""
        self.registry = CollectorRegistry()
        self._labels = {"model_name": model, "engine": "0"}
        self._made: dict[str, Any] = {}
        self._buckets = {**DEFAULT_BUCKETS, **(buckets or {})}
        self._names = names
        # vLLM had the last name of each before 0.13, and has the others since
        told = names.histograms["tpot"]
        self._tpot = told[-1:] if old else told[:2]
        self._kv = names.kv_share[-1] if old else names.kv_share[0]
        self._reasons = "=" in names.failed  # why a request ended is a label
        self.show(running=0, waiting=0, kv_share=0)
        self._counter(names.preemptions)
        for reason in ENDS:
            self._ended(reason, 0)

    def show(self, *, running: int, waiting: int = 0, kv_share: float = 0.0) -> None:
        """What is in the server now."""
        self._gauge(self._names.running).set(running)
        self._gauge(self._names.waiting).set(waiting)
        self._gauge(self._kv).set(min(1.0, kv_share))

    def record(self, one: Served, reason: str = "stop") -> None:
        """Count a request that has ended."""
        names = self._names.histograms
        self._latency("time_to_first_token", names["ttft"][0], one.ttft_s)
        for name in self._tpot:
            self._latency("inter_token_latency", name, one.tpot_s)
        self._latency("request_latency", names["e2e"][0], one.e2e_s)
        self._latency("request_latency", names["queue"][0], one.queue_s)
        for quantity, tokens in (("prompt", one.prompt), ("output", one.output)):
            full = names[quantity][0]
            self._labelled(Histogram, full, {}, buckets=TOKENS).observe(tokens)
        hits, asked = self._names.prefix
        prompts = self._names.output_tokens.replace("generation", "prompt")
        self._counter(self._names.output_tokens).inc(one.output)
        for counter in {prompts, asked}:  # with some they are one
            self._counter(counter).inc(one.prompt)
        self._counter(hits).inc(one.cached)
        self._ended(reason, 1)

    def fail(self) -> None:
        """Count a request that ended in an error."""
        self._ended("error", 1)

    def text(self) -> bytes:
        """What ``/metrics`` serves, as CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _ended(self, reason: str, count: int) -> None:
        if self._reasons:
            self._counter(self._names.ended, finished_reason=reason).inc(count)
            return
        self._counter(self._names.ended).inc(count)
        if reason in ENDS[2:]:
            self._counter(self._names.failed).inc(count)

    def _latency(self, kind: str, name: str, seconds: float) -> None:
        self._labelled(Histogram, name, {}, buckets=self._buckets[kind]).observe(seconds)

    def _counter(self, name: str, **more: str) -> Any:
        return self._labelled(Counter, name.removesuffix("_total"), more)

    def _gauge(self, name: str) -> Any:
        return self._labelled(Gauge, name, {})

    def _labelled(self, kind: Any, name: str, more: dict[str, str], **options: Any) -> Any:
        labels = {**self._labels, **more}
        if name not in self._made:
            self._made[name] = kind(name, name, list(labels), registry=self.registry, **options)
        return self._made[name].labels(**labels)
