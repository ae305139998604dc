"""`workload.dayProfile`: a load over the day, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest

from guide.errors import SpecError
from guide.spec import InferencePlan, parse_plan


def plan(**workload: Any) -> InferencePlan:
    lengths = {"inputTokens": {"mean": 500}, "outputTokens": {"mean": 100}}
    return parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat"},
            "spec": {"model": {"name": "a/b"}, "workload": {**lengths, **workload}},
        }
    )


def test_the_peak_is_the_load_to_hold():
    spec = plan(dayProfile={"low": "0.5", "mean": 3, "peak": 8}, arrivalCV=2).spec
    load = spec.workload.to_domain()
    assert (load.requests_per_s, load.arrival_cv) == (8.0, 2.0)
    day = spec.workload.day_profile
    assert day is not None
    assert day.to_domain().low_per_s == 0.5


def test_a_recorded_day_has_its_low_mean_and_peak():
    workload = plan(dayProfile={"requestsPerSecond": [0, "1.5", 6, "0.5"]}).spec.workload
    assert workload.to_domain().requests_per_s == 6.0
    assert workload.day_profile is not None
    day = workload.day_profile.to_domain()
    assert (day.low_per_s, day.mean_per_s, day.peak_per_s) == (0.0, 2.0, 6.0)
    assert day.recorded_per_s == (0.0, 1.5, 6.0, 0.5)


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"dayProfile": {"low": 5, "mean": 3, "peak": 8}}, "in this order, and are 5, 3 and 8"),
        ({"dayProfile": {"low": 1, "mean": 9, "peak": 8}}, "in this order, and are 1, 9 and 8"),
        ({"dayProfile": {"low": 0, "mean": 3, "peak": 8}}, "low"),
        ({"dayProfile": {"low": 1, "peak": 8}}, "state low, mean and peak, or"),
        ({"dayProfile": {}}, "state low, mean and peak, or"),
        ({"dayProfile": {"requestsPerSecond": [1, 2], "peak": 8}}, "or requestsPerSecond of equal"),
        ({"dayProfile": {"requestsPerSecond": [0, "0"]}}, "a day without arrivals: state at least"),
        ({"dayProfile": {"requestsPerSecond": [5]}}, "requestsPerSecond"),
        ({"dayProfile": {"requestsPerSecond": [5, -1]}}, "requestsPerSecond[1]"),
        ({"dayProfile": {"low": 1, "mean": 2, "peak": 8}, "requestsPerSecond": 8}, "exactly one"),
        ({"dayProfile": {"low": 1, "mean": 2, "peak": 8, "p99": 9}}, "p99"),
    ],
)
def test_a_day_that_is_none_is_refused_in_a_sentence(workload: dict[str, Any], said: str):
    with pytest.raises(SpecError) as refused:
        plan(**workload)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
