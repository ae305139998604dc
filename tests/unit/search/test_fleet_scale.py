"""The estimate for large fleets: what it rests on, measured with a few plans."""

from __future__ import annotations

import pytest

from hack import fleet_scale
from hack.fleet_scale import extrapolated, measured


@pytest.mark.parametrize(
    ("values", "least"),
    [([10.0, 100.0], 1000.0), ([10.0, 1000.0], 100_000.0), ([60.0, 150.0], 1050.0)],
)
def test_an_estimate_is_no_less_than_the_line_and_the_power_law(values: list[float], least: float):
    assert extrapolated([100, 1000], values, 10_000) == pytest.approx(least)


def test_each_plan_is_written_once_and_nothing_without_a_cause(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fleet_scale, "QUIET_S", 3.0)
    found = measured(10, workers=1, distinct=10)
    calls = {cost.what: cost.calls for cost in found.costs}
    answered = calls["answer all plans"]
    assert answered["writes of a status"] == answered["writes of a ConfigMap"] == 10
    assert not calls["read all nodes"]
    assert not calls["a heartbeat of every node"]
    again = calls["look at all plans again"]
    assert again["reads of a ConfigMap"] == 10
    assert not again["writes of a status"]
    # the node that goes is an H100, which two of five plans may use
    assert 0 < calls["one node goes"]["writes of a status"] <= 4
    assert found.operator_mib > 20
    assert found.worker_mib > 20
