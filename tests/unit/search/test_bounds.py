"""Each bound at its limit: what just keeps it passes, what is beyond it says by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from guide.domain import Budget, Limits, MemoryFit, Reason, Slo
from guide.search import bounds
from guide.search.bounds import WORST, Broken
from guide.units import GIB
from tests import toy

PLAN = toy.question(
    slo=Slo(
        ttft_p95_s=1.0,
        tpot_p95_s=0.05,
        e2e_p95_s=20.0,
        min_output_tokens_per_s=1000.0,
        job_s=3600.0,
    ),
    budget=Budget(max_gpus=8, max_usd_per_h=40.0),
)
UNLIMITED = toy.question(slo=Slo(), budget=Budget())
SERVER = Limits(
    max_num_seqs=64, max_num_batched_tokens=2048, gpu_memory_utilization=0.9, max_model_len=8000
)
# a rule, its limit, a value beyond it, the margin of that, and the words that tell both
LIMITS = {
    "TTFT": (
        lambda value: bounds.misses_ttft(value, PLAN, "under load"),
        *(1.0, 1.25, 0.25, "under load TTFT may reach 1,250 ms, 25.0% over the limit of 1,000 ms"),
    ),
    "TPOT": (
        lambda value: bounds.misses_tpot(value, PLAN, "under load"),
        *(0.05, 0.075, 0.5, "under load TPOT may reach 75 ms, 50.0% over the limit of 50 ms"),
    ),
    "E2E": (
        lambda value: bounds.misses_e2e(value, PLAN, "under load"),
        *(20.0, 22.0, 0.1, "end-to-end time may reach 22,000 ms, 10.0% over the limit"),
    ),
    "deadline": (
        lambda value: bounds.misses_deadline(value, PLAN, "at best"),
        *(3600.0, 5400.0, 0.5, "at best the batch may take 90 min, 50.0% over the limit"),
    ),
    "throughput": (
        lambda value: bounds.misses_throughput(value, PLAN),
        *(1000.0, 800.0, 0.2, "sustains 800 output tokens/s, 1,000 are asked for"),
    ),
    "GPUs": (
        lambda value: bounds.over_budget(PLAN, value, 1.0),
        *(8, 10, 0.25, "needs 10 GPUs, the budget allows 8"),
    ),
    "dollars": (
        lambda value: bounds.over_budget(PLAN, 8, value),
        *(40.0, 50.0, 0.25, "costs $50.00/h, the budget allows $40.00/h"),
    ),
    "context of a server": (
        lambda value: bounds.context_beyond_limits(SERVER, value),
        *(8000, 10000, 0.25, "10,000 tokens is asked for; the server accepts 8,000"),
    ),
    "context of a model": (
        lambda value: bounds.context_beyond_model(
            replace(toy.MODEL, max_context_tokens=8000), value
        ),
        *(8000, 10000, 0.25, "10,000 tokens is beyond the 8,000 that toy/8b was made for"),
    ),
    "context in the cache": (
        lambda value: bounds.context_does_not_fit(memory(kv_capacity_tokens=8000), value),
        *(8000, 10000, 0.25, "10,000 tokens does not fit; the KV cache holds 8,000"),
    ),
    "outside of the fraction": (
        lambda value: bounds.outside_does_not_fit(
            memory(outside_bytes=value * GIB, outside_room_bytes=8 * GIB)
        ),
        *(
            8,
            10,
            0.25,
            "need 10.0 GiB beside weights and cache, and the memory fraction leaves 8.0",
        ),
    ),
}


def memory(**changes: float) -> MemoryFit:
    """A GPU of 80 GiB with 40 for weights and 20 for the cache."""
    fit = MemoryFit(
        hbm_bytes=80 * GIB,
        weight_bytes=40 * GIB,
        activation_bytes=12 * GIB,
        reserved_bytes=8 * GIB,
        kv_bytes_per_token=2.0**17,
        kv_capacity_tokens=160_000,
        block_tokens=16,
    )
    return replace(fit, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_holds_up_to_itself_and_tells_its_excess(name: str):
    rule: Callable[[float], Broken | None]
    rule, limit, beyond, margin, words = LIMITS[name]
    assert rule(limit) is None
    broken = rule(beyond)
    assert broken is not None
    assert broken.margin == pytest.approx(margin)
    assert words in broken.detail


def test_what_has_no_limit_is_never_missed():
    assert not list(bounds.latency_misses(1e9, 1e9, 1e9, UNLIMITED, ""))
    assert bounds.misses_deadline(1e9, UNLIMITED, "") is None
    assert bounds.misses_throughput(0.0, UNLIMITED) is None
    assert bounds.over_budget(UNLIMITED, 10**6, None) is None
    assert bounds.over_budget(UNLIMITED, 1, 1e9) is None


def test_weights_need_room_for_a_block_beside_them():
    assert bounds.weights_do_not_fit(memory(kv_capacity_tokens=16)) is None
    broken = bounds.weights_do_not_fit(memory(weight_bytes=75 * GIB, kv_capacity_tokens=0))
    assert broken is not None
    assert broken.reason is Reason.DOES_NOT_FIT
    assert broken.detail == "needs 75.0 GiB of weights per GPU, 60.0 GiB available"
    assert broken.margin == pytest.approx(0.25)
    nowhere = bounds.weights_do_not_fit(memory(activation_bytes=90 * GIB, kv_capacity_tokens=0))
    assert nowhere is not None
    assert nowhere.detail.endswith(" 0.0 MiB available")
    assert nowhere.margin == WORST


def test_every_latency_that_is_missed_is_told():
    def reasons(*values: float) -> list[Reason]:
        return [one.reason for one in bounds.latency_misses(*values, PLAN, "")]

    assert reasons(1.0, 0.05, 20.0) == []
    assert reasons(2.0, 0.05, 30.0) == [Reason.MISSES_TTFT, Reason.MISSES_E2E]
    assert reasons(1.0, 0.1, 20.0) == [Reason.MISSES_TPOT]


def test_an_excess_is_relative_and_has_an_end():
    assert bounds.excess(3.0, 2.0) == pytest.approx(0.5)
    assert bounds.excess(1e12, 1.0) == WORST
    assert bounds.excess(1.0, 0.0) == bounds.excess(1.0, -1.0) == WORST


def test_a_count_has_its_noun():
    assert [bounds.counted(n, "GPU") for n in (1, 2, 1500)] == ["1 GPU", "2 GPUs", "1,500 GPUs"]
