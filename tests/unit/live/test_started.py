"""What servers tell of their start, beside what was predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.catalog import load
from guide.domain import GroupEvaluation
from guide.frameworks import FRAMEWORKS
from guide.live import started
from guide.units import GIB
from tests.handmade import recommendation
from tests.manifest_cases import SGLANG


def group() -> GroupEvaluation:
    best = recommendation(SGLANG).best
    assert best is not None
    memory = replace(
        best.groups[0].memory,
        weight_bytes=7.5 * GIB,
        kv_capacity_tokens=2**20,
        kv_bytes_per_token=2.0**16,
    )
    return replace(best.groups[0], memory=memory)


def test_gauges_are_asked_by_the_names_of_the_framework():
    asked = started.queries(FRAMEWORKS["SGLang"].metrics, 'plan="chat"')
    assert asked["kv_tokens"] == (
        'avg(sum by (instance) (sglang:max_total_num_tokens{plan="chat"}))'
    )
    assert '{plan="chat", phase="tokenizer_e2e"}' in asked["start_s"]
    assert started.queries(FRAMEWORKS["FastGen"].metrics, "") == {}


def test_each_quantity_stands_beside_its_prediction():
    expected = started.predicted(group(), load())
    assert expected["weights_gib"] == 7.5
    assert expected["kv_gib"] == 64
    assert expected["graphs_gib"] > 0.1
    said = list(started.beside({"weights_gib": 8.0, "kv_tokens": 1e6, "start_s": 72.0}, expected))
    assert said == [
        "Weights of a GPU: observed 8.00 GiB, predicted 7.50 GiB.",
        "KV cache: observed 1,000,000 tokens, predicted 1,048,576 tokens.",
        "Start of a server: observed 72 s, nothing is predicted.",
    ]


def test_what_no_server_tells_is_not_said():
    assert list(started.beside({}, started.predicted(group(), load()))) == []
    with pytest.raises(StopIteration):
        next(started.beside({}, {}))
