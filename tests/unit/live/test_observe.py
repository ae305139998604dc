"""What is learnt from pods: robust, bounded, written down; and what bad input does not do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from guide.catalog import load
from guide.domain import Percentiles
from guide.errors import SpecError
from guide.live.expect import Expected
from guide.live.learn import (
    LONGEST_STEP,
    STEP_LIMIT,
    Correction,
    Corrections,
    Sample,
    learnt,
    overlay,
    reset,
    sample,
)
from guide.live.ledger import config_map, from_config_map
from guide.live.measured import Observation, lacking, observation, unfit, workload
from guide.perf.fits import observed_key
from guide.simulate.capacity import layout_cost
from guide_operator import findings
from guide_operator.reconcile import Decision
from tests.handmade import GROUP
from tests.toy import question

CATALOG = load()
PLAN = question()
KEY = "m/H100-SXM/vLLM-0.33.0"
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:20:00Z"


def samples(step: float, count: int = 5, serving: float | None = None) -> list[Sample]:
    return [Sample(step=step, serving=serving, requests=200.0) for _ in range(count)]


def step_of(ledger: Corrections) -> float:
    return ledger.corrections[KEY].step


def test_repeated_updates_reach_the_bias_and_stop_there():
    ledger, bias = Corrections(), math.log(1.4)
    for _ in range(6):
        done = ledger.corrections.get(KEY, Correction()).step
        ledger = learnt(ledger, KEY, samples(bias - done), NOW)
    assert math.exp(step_of(ledger)) == pytest.approx(1.4, rel=0.03)
    assert learnt(ledger, KEY, samples(0.01), NOW) is ledger  # noise


def test_one_update_is_bounded_and_so_are_all_together():
    ledger = learnt(Corrections(), KEY, samples(math.log(50)), NOW)
    assert step_of(ledger) == LONGEST_STEP
    for _ in range(30):
        ledger = learnt(ledger, KEY, samples(math.log(50)), NOW)
    assert step_of(ledger) == pytest.approx(STEP_LIMIT, abs=1e-3)
    assert len(ledger.history) <= 20


def test_outliers_and_disagreement_teach_nothing():
    wild = [*samples(0.0, 4), *samples(5.0, 1)]
    assert learnt(Corrections(), KEY, wild, NOW) == Corrections()
    split = [*samples(0.5, 3), *samples(-0.5, 3)]
    assert learnt(Corrections(), KEY, split, NOW) == Corrections()
    assert learnt(Corrections(), KEY, samples(0.5, 2), NOW) == Corrections()  # too few


def test_a_reset_forgets_but_tells():
    ledger = learnt(Corrections(), KEY, samples(0.3), NOW)
    after = reset(ledger, LATER)
    assert not after.corrections
    assert after.version == ledger.version + 1
    assert after.history[-1].endswith(f"reset by hand: {KEY}")
    assert overlay(CATALOG, after) is CATALOG


def test_the_config_map_gives_back_what_was_put_in():
    ledger = learnt(Corrections(), KEY, samples(0.3, serving=0.2), NOW)
    value = config_map(ledger, "guide-system")
    assert from_config_map(value) == ledger
    assert from_config_map(None) == Corrections()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 1, "corrections": {"k": {}}, "history": []}', "\0"],
)
def test_a_damaged_config_map_is_one_sentence(text: str):
    with pytest.raises(SpecError, match=r"^ConfigMap guide-corrections, .*--reset$"):
        from_config_map({"data": {"corrections.json": text}})


def test_a_factor_beyond_its_bounds_is_refused():
    value = config_map(Corrections(corrections={KEY: Correction(step=9.0)}), "x")
    with pytest.raises(SpecError, match="outside its bounds"):
        from_config_map(value)


def test_a_correction_slows_every_step_by_its_factor():
    _, key = observed_key(GROUP.gpu, GROUP.framework, GROUP.version, GROUP.model)
    ledger = Corrections(corrections={key: Correction(step=math.log(1.4), serving=math.log(2))})
    slow = overlay(CATALOG, ledger)
    assert slow.digest != CATALOG.digest
    (before, around), (after, slower) = layout_cost(GROUP, CATALOG), layout_cost(GROUP, slow)
    assert after.decode_run(1, 8, 9000, 0) == pytest.approx(1.4 * before.decode_run(1, 8, 9000, 0))
    step = (512, 1, 512 * 256, 0, 3, 4000, 0, 4)
    assert after.prompt_step(*step) == pytest.approx(1.4 * before.prompt_step(*step))
    assert slower == pytest.approx(tuple(2 * value for value in around))
    other = overlay(CATALOG, Corrections(corrections={"other/GPU/vLLM-1": Correction(step=1.0)}))
    assert layout_cost(GROUP, other)[1] == around


GOOD = Observation(
    requests=500,
    requests_per_s=8,
    prompt_mean=1000,
    prompt_p95=3000,
    output_mean=200,
    output_p95=90_000,
    ttft_mean_s=0.2,
    tpot_mean_s=0.02,
    e2e_mean_s=4.0,
    error_ratio=0,
    waiting=0,
    running=10,
    kv_usage=0.3,
    prefix_hit_share=0.25,
    preemptions=0,
    pods=2,
    pods_before=2,
    restarts=0,
)


def test_a_good_window_is_fit_and_its_load_is_read():
    assert lacking(GOOD) is None
    assert unfit(GOOD) is None
    load_ = workload(GOOD, PLAN)
    assert load_.requests_per_s == 8
    assert load_.prefix_hit_share == 0.25
    assert load_.prompt.p95_tokens == 3000
    assert load_.output.p95_tokens == 3.5 * 200  # a bucket is no tail


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"requests": 49}, "only 49 requests"),
        ({"pods_before": 1}, "restarted"),
        ({"pods_before": None}, "restarted"),
        ({"restarts": 1}, "restarted"),
        ({"error_ratio": 0.2}, "20% of the requests failed"),
        ({"pods_apart": 0.8}, "pods are 80% apart"),
        ({"waiting": 11}, "overloaded"),
        ({"in_flight": 40, "in_flight_before": 10}, "overloaded"),  # 500 ended, 530 came
        ({"kv_usage": 0.99}, "overloaded"),
        ({"preemptions": 2}, "overloaded"),
    ],
)
def test_cold_overloaded_and_thin_windows_teach_nothing(change: dict[str, Any], why: str):
    assert why in (unfit(replace(GOOD, **change)) or "")


def test_requests_in_flight_may_move_a_little():
    steady = {"in_flight": 30, "in_flight_before": 10}
    assert unfit(replace(GOOD, **steady)) is None
    thin = replace(GOOD, requests=60, in_flight_before=1)
    assert unfit(replace(thin, in_flight=8)) is None  # chance
    assert "overloaded" in (unfit(replace(thin, in_flight=16)) or "")


def test_numbers_that_are_none_are_left_out_and_what_is_missing_is_named():
    found = observation({"requests_per_s": 3.0, "ttft_mean_s": math.nan, "tpot_mean_s": math.inf})
    assert found == Observation(requests_per_s=3.0)
    renamed = replace(GOOD, tpot_mean_s=None)
    assert "nor vllm:time_per_output_token_seconds" in (lacking(renamed) or "")


def flat(seconds: float) -> Percentiles:
    return Percentiles(mean_s=seconds, p50_s=seconds, p95_s=seconds, p99_s=seconds)


EXPECTED = Expected(
    ttft=flat(0.2),
    tpot=flat(0.02 / 1.5),
    e2e=flat(4.0),
    half_width={"ttft": 0.3, "tpot": 0.3, "e2e": 0.3},
    overhead_s=0.01,
    stable=True,
    keys=(KEY,),
)


def test_a_sample_asks_for_the_serving_factor_only_once_steps_are_right():
    assert sample(GOOD, EXPECTED) == Sample(
        step=pytest.approx(math.log(1.5)), serving=None, requests=500
    )
    right = replace(EXPECTED, tpot=flat(0.02), ttft=flat(0.19))
    assert sample(GOOD, right).serving == pytest.approx(math.log(2))  # 10 ms of 10 ms more


def judged(
    plan: dict[str, Any], age_s: Callable[[str], float] = lambda _: 0.0
) -> findings.LiveFinding:
    return findings.compared(
        plan,
        PLAN,
        GOOD,
        EXPECTED,
        Corrections(),
        replicas=2,
        learning="Learnt from.",
        drift_s=900,
        now=LATER,
        age_s=age_s,
    )


CONDITION = {
    "type": "Feasible",
    "status": "True",
    "reason": "Recommended",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": NOW,
}
SHOWN: dict[str, Any] = {
    "metadata": {"name": "chat", "namespace": "ml", "generation": 1},
    "status": {"observedGeneration": 1, "best": {}, "conditions": [CONDITION]},
}


def test_drift_needs_time_and_is_told_in_words():
    brief, long = judged(SHOWN), judged(SHOWN, lambda _: 901)
    assert (brief.condition.status, brief.condition.reason) == (False, "OutsideBandBriefly")
    assert (long.condition.status, long.condition.reason) == (True, "OutsideBand")
    assert "time per output token is 50% above" in long.condition.message
    assert long.observed is not None
    assert long.observed["ttftMeanSeconds"] == "0.2"
    assert long.observed["requestsPerSecond"] == "8"


def test_a_clock_that_was_set_back_begins_the_time_outside_anew_and_once():
    """An hour ahead, then true again: no drift is called, and none is forgotten for an hour."""
    ahead = "2026-01-01T01:20:00Z"
    plan = {**SHOWN, "status": {**SHOWN["status"], "observed": {"outsideSince": ahead}}}

    def age_s(then: str) -> float:
        return (datetime.fromisoformat(LATER) - datetime.fromisoformat(then)).total_seconds()

    found = judged(plan, age_s)
    assert found.observed is not None
    assert found.observed["outsideSince"] == LATER
    assert found.condition.reason == "OutsideBandBriefly"
    told = findings.merged(Decision(), plan, found, LATER).status
    assert told is not None
    again = judged({**plan, "status": told}, age_s=lambda _: 901)
    assert again.condition.reason == "OutsideBand"


def test_a_status_takes_a_finding_once_and_not_for_small_moves():
    decision = findings.merged(Decision(), SHOWN, judged(SHOWN), LATER)
    assert decision.status is not None
    assert decision.status["observed"]["outsideSince"] == LATER
    again = {**SHOWN, "status": decision.status}
    assert findings.merged(Decision(), again, judged(again), LATER).status is None
    assert findings.merged(Decision(), again, None, LATER).status is None
    blind = findings.blind(1, findings.UNAVAILABLE, "Prometheus is down")
    after = findings.merged(Decision(), again, blind, LATER).status
    assert after is not None
    figures = dict(decision.status["observed"])
    assert figures.pop("verdict")["kind"] == "BothMoved"
    assert after["observed"] == figures  # the last figures stay, not what was made of them
    (told,) = (c for c in after["conditions"] if c["type"] == "PredictionDrift")
    assert (told["status"], told["reason"]) == ("Unknown", "PrometheusUnavailable")


def test_a_finding_of_an_older_generation_is_dropped():
    finding = judged(SHOWN)
    newer = {**SHOWN, "metadata": {**SHOWN["metadata"], "generation": 2}}
    assert findings.merged(Decision(), newer, finding, LATER).status is None


def test_of_two_pods_one_that_lies_stops_the_learning():
    assert "apart" in (unfit(replace(GOOD, pods_apart=0.9)) or "")
