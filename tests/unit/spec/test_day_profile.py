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


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ({"dayProfile": {"low": 5, "mean": 3, "peak": 8}}, "in this order, and are 5, 3 and 8"),
        ({"dayProfile": {"low": 1, "mean": 9, "peak": 8}}, "in this order, and are 1, 9 and 8"),
        ({"dayProfile": {"low": 0, "mean": 3, "peak": 8}}, "low"),
        ({"dayProfile": {"low": 1, "peak": 8}}, "mean"),
        ({"dayProfile": {"low": 1, "mean": 2, "peak": 8}, "requestsPerSecond": 8}, "exactly one"),
        ({"dayProfile": {"low": 1, "mean": 2, "peak": 8, "p99": 9}}, "p99"),
    ],
)
def test_a_day_that_is_none_is_refused_in_a_sentence(workload: dict[str, Any], said: str):
    with pytest.raises(SpecError) as refused:
        plan(**workload)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
