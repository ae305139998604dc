"""What of an SGLang server differs: its paths, a health that generates a token, its start-up
gauges (`HEALTH_CHECK_TIMEOUT` and `health_generate` of entrypoints/http_server.py, 0.5.23).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from aiohttp import web
from prometheus_client import Gauge

from guide.frameworks import FRAMEWORKS
from guide.frameworks.sglang_flags import BUCKETS
from hack.standin.metrics import ServerMetrics
from hack.standin.server import StandIn

NAMES = FRAMEWORKS["SGLang"].metrics
FIRST_LOOK_S = 1.0  # no answer comes sooner
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a start reports, per GPU: gauges of 0.5.17 and later, in what SGLang calls GB."""

    pool_tokens: int
    weights_gib: float
    kv_gib: float
    graphs_gib: float


class SglangStandIn(StandIn):
    """One server of it."""

    def app(self) -> web.Application:
        """With the paths of SGLang beside those of the OpenAI API."""
        app = super().app()
        app.add_routes(
            [
                web.get("/health_generate", self._health),
                web.get("/ready", self._ready),
                web.get("/model_info", self._model_info),
            ]
        )
        return app

    async def _health(self, request: web.Request) -> web.Response:
        """A token is generated, unless others are: its time is that of one request."""
        if (await self._ready(request)).status != 200:
            return web.Response(status=503)
        asked_s = time.monotonic()
        while time.monotonic() < asked_s + PATIENCE_S:
            await asyncio.sleep(FIRST_LOOK_S)
            if time.monotonic() - asked_s >= self.latency.ttft_s:
                return web.Response(status=200)
        return web.Response(status=503)

    async def _ready(self, _: web.Request) -> web.Response:
        loaded = time.monotonic() - self.began_s >= self.latency.start_s
        return web.Response(status=200 if loaded and not self.never_healthy else 503)

    async def _model_info(self, _: web.Request) -> web.Response:
        return web.json_response({"model_path": self.model, "is_generation": True})


def buckets_in(args: Sequence[str]) -> dict[str, list[float]]:
    """The bounds that stand behind their flags, by what vLLM calls the histograms."""
    found: dict[str, list[float]] = {}
    for kind, flag in BUCKETS.items():
        if flag in args:
            behind = args[args.index(flag) + 1 :]
            bounds = takewhile(lambda word: not word.startswith("-"), behind)
            found[kind] = [float(bound) for bound in bounds]
    return found


def tell_start(metrics: ServerMetrics, started: Started, start_s: float) -> None:
    """Set the gauges of a start."""
    values = {
        "sglang:max_total_num_tokens": started.pool_tokens,
        "sglang:weight_memory_usage_gb": started.weights_gib,
        "sglang:kv_cache_memory_usage_gb": started.kv_gib,
    }
    for name, value in values.items():
        Gauge(name, name, registry=metrics.registry).set(value)
    for name, phase, value in (
        ("sglang:graph_memory_usage_gb", "decode", started.graphs_gib),
        ("sglang:startup_time_seconds", "tokenizer_e2e", start_s),
    ):
        Gauge(name, name, ["phase"], registry=metrics.registry).labels(phase).set(value)
