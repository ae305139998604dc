"""Every name that is asked for is exported by a server of its framework."""

from __future__ import annotations

import re

import pytest

from guide.frameworks import FRAMEWORKS
from guide.live import queries
from guide.live.measured import NEEDED
from hack.standin.metrics import Served, ServerMetrics


def exported(framework: str, **options: bool) -> str:
    metrics = ServerMetrics("a/b", names=FRAMEWORKS[framework].metrics, **options)
    metrics.record(Served(2.0, 1.0, 100, 20, 0.1, 0.02, 0.5, 0.01, cached=50))
    metrics.fail()
    metrics.show(running=3, waiting=1, kv_share=0.4)
    return metrics.text().decode()


def value(text: str, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, flags=re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_server_exports_what_is_asked(framework: str):
    text, names = exported(framework), FRAMEWORKS[framework].metrics
    for quantity in queries.HISTOGRAMS:
        assert any(f"{name}_bucket{{" in text for name in names.histograms[quantity]), quantity
    assert (value(text, names.running), value(text, names.waiting)) == (3, 1)
    assert value(text, names.kv_share[0]) == 0.4
    assert value(text, names.ended) == 2
    assert value(text, names.output_tokens) == 20
    hits, asked = (value(text, name) for name in names.prefix)
    assert hits / asked == 0.5
    assert value(text, names.preemptions) == 0
    assert names.preemptions in text


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_an_observation_needs_is_told_by_every_framework(framework: str):
    text = exported(framework)
    for quantity, families in NEEDED.items():
        assert any(f"{family}{end}" in text for family in families for end in ("{", "_sum{")), (
            quantity
        )


def test_the_time_per_token_of_sglang_falls_back_to_the_gap_between_tokens():
    """A request's own is there since 0.5.22 only."""
    text = queries.mean("tpot", 'plan="chat"', "5m")
    names = FRAMEWORKS["SGLang"].metrics.histograms["tpot"]
    assert [text.index(f"{name}_sum") for name in names] == sorted(
        text.index(f"{name}_sum") for name in names
    )


def test_old_names_of_vllm_are_still_told():
    text = exported("vLLM", old=True)
    assert "vllm:time_per_output_token_seconds_bucket" in text
    assert "vllm:inter_token_latency_seconds_bucket" not in text
    assert value(text, "vllm:gpu_cache_usage_perc") == 0.4
