"""Whether load or prediction moved, in made situations; what is said is what was made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.domain import DayProfile, Lengths, Plan, Slo, Workload
from guide.live.measured import Observation
from guide.live.verdict import Verdict, judge
from tests.toy import question

PLAN: Plan = replace(
    question(),
    workload=Workload(
        prompt=Lengths(mean_tokens=1000, p95_tokens=3000),
        output=Lengths(mean_tokens=200, p95_tokens=500),
        requests_per_s=8,
    ),
    slo=Slo(ttft_p95_s=1.0, tpot_p95_s=0.05),
)
AS_PLANNED = Observation(
    requests=5000,
    requests_per_s=8,
    prompt_mean=1000,
    output_mean=200,
    ttft_p95_s=0.5,
    tpot_p95_s=0.03,
    prefix_hit_share=0.0,
    running=10,
    pods=2,
)
SITUATIONS: list[tuple[str, dict[str, Any], dict[str, float], Verdict, str]] = [
    ("as planned", {}, {}, Verdict.AS_PLANNED, "as planned"),
    ("load up", {"requests_per_s": 12}, {}, Verdict.LOAD_MOVED, "load grew: 12 requests/s, 8"),
    ("load down", {"requests_per_s": 3}, {}, Verdict.LOAD_MOVED, "load fell: 3 requests/s"),
    ("long prompts", {"prompt_mean": 2500}, {}, Verdict.LOAD_MOVED, "Prompts are longer: 2,500"),
    ("short prompts", {"prompt_mean": 300}, {}, Verdict.LOAD_MOVED, "Prompts are shorter"),
    ("long outputs", {"output_mean": 400}, {}, Verdict.LOAD_MOVED, "Outputs are longer: 400"),
    ("cache hits", {"prefix_hit_share": 0.6}, {}, Verdict.LOAD_MOVED, "60% of the prompts"),
    ("slower engine", {}, {"tpot": 1.6}, Verdict.PREDICTION_OFF, "output token is 1.6 x"),
    ("faster engine", {}, {"ttft": 0.5}, Verdict.PREDICTION_OFF, "first token is 0.5 x"),
    (
        "both",
        {"requests_per_s": 12},
        {"tpot": 1.6, "e2e": 1.5},
        Verdict.BOTH_MOVED,
        "grew: 12 requests/s, 8 planned, and for that load time per output token is 1.6 x the "
        "prediction and total time is 1.5 x",
    ),
    ("fewer replicas", {"pods": 1}, {"tpot": 1.6}, Verdict.OTHER_REPLICAS, "1 of 2 planned"),
    ("no traffic", {"requests": 3}, {"ttft": 9.0}, Verdict.TOO_LITTLE_TRAFFIC, "3 requests in"),
    (
        "a queue that grows hides what came",
        {"requests_per_s": 6, "in_flight": 1700, "in_flight_before": 30},
        {"ttft": 50.0, "tpot": 1.4},
        Verdict.PREDICTION_OFF,
        "Load as planned",
    ),
]


@pytest.mark.parametrize(("change", "off", "verdict", "words"), [s[1:] for s in SITUATIONS])
def test_the_verdict_is_what_was_made(
    change: dict[str, Any], off: dict[str, float], verdict: Verdict, words: str
):
    found = judge(PLAN, replace(AS_PLANNED, **change), replicas=2, off=off)
    assert found.verdict is verdict
    assert words in found.sentence
    assert found.missed == ()


def test_a_missed_limit_is_said_first_whatever_moved():
    slow = replace(AS_PLANNED, ttft_p95_s=2.4)
    for change in ({}, {"requests_per_s": 12}, {"pods": 1}):
        found = judge(PLAN, replace(slow, **change), replicas=2, off={})
        assert found.missed == ("ttft",)
        assert found.sentence.startswith(
            "Limits are missed: p95 of time to first token is 2.40 s, the limit 1.00 s. "
        )


def test_a_load_that_no_prediction_carries_is_the_cause():
    found = judge(
        PLAN,
        replace(AS_PLANNED, requests_per_s=20),
        replicas=2,
        off={"ttft": 0.01},  # a backlog that grows has no level to compare with
        stable=False,
    )
    assert found.verdict is Verdict.LOAD_MOVED
    assert "more than the deployment can serve" in found.sentence


def test_users_of_a_closed_loop_are_compared_with_its_concurrency():
    closed = replace(PLAN.workload, requests_per_s=None, concurrency=40)
    plan = replace(PLAN, workload=closed)
    steady = replace(AS_PLANNED, running=36, waiting=2)
    assert judge(plan, steady, replicas=2, off={}).verdict is Verdict.AS_PLANNED
    crowd = replace(AS_PLANNED, running=64, waiting=20)
    assert "84 users, 40 planned" in judge(plan, crowd, replicas=2, off={}).sentence


def test_all_between_night_and_peak_is_as_planned():
    day = DayProfile(low_per_s=2, mean_per_s=4, peak_per_s=8)
    plan = replace(PLAN, day=day)
    for rate in (2, 3, 8):
        quiet = replace(AS_PLANNED, requests_per_s=rate)
        assert judge(plan, quiet, replicas=2, off={}).verdict is Verdict.AS_PLANNED
    for rate, said in ((1, "load fell: 1 requests/s, 2 planned"), (12, "12 requests/s, 8 planned")):
        moved = judge(plan, replace(AS_PLANNED, requests_per_s=rate), replicas=2, off={})
        assert moved.verdict is Verdict.LOAD_MOVED
        assert said in moved.sentence


@given(
    requests=st.floats(50, 1e6),
    factor=st.floats(0.91, 1.09),
    off=st.dictionaries(st.sampled_from(["ttft", "tpot", "e2e"]), st.floats(0.1, 10)),
)
def test_small_moves_are_no_move(requests: float, factor: float, off: dict[str, float]):
    near = replace(
        AS_PLANNED,
        requests=requests,
        requests_per_s=8 * factor,
        prompt_mean=1000 * factor,
        output_mean=200 / factor,
    )
    wanted = Verdict.PREDICTION_OFF if off else Verdict.AS_PLANNED
    assert judge(PLAN, near, replicas=2, off=off).verdict is wanted
