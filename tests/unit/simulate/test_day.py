"""A day's load, and the algorithm of a HorizontalPodAutoscaler in the loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.domain import AutoscalerRules, DayProfile, ScaledDay
from guide.simulate.day import DAY_S, HOUR_S, SYNC_S, fastest_growth, rates, scaled_day

DAY = DayProfile(low_per_s=2, mean_per_s=20, peak_per_s=60)
RULES = AutoscalerRules(
    min_replicas=1, max_replicas=15, target_per_s=4.0, down_stabilization_s=300, start_s=240
)
LIMIT = 5.0  # requests/s of a replica


def played(day: DayProfile = DAY, limit: float = LIMIT, seed: int = 0, **other: float) -> ScaledDay:
    rules = replace(RULES, **other)  # pyright: ignore[reportArgumentType]
    return scaled_day(day, rules, limit, lambda count: 2.0 * count, seed)


@given(st.floats(0.1, 100), st.floats(0.02, 0.98), st.floats(1.01, 100))
@settings(max_examples=25, deadline=None)
def test_a_day_has_the_stated_low_mean_and_peak(low: float, share: float, times: float):
    peak = low * times
    mean = low + share * (peak - low)
    day = rates(DayProfile(low_per_s=low, mean_per_s=mean, peak_per_s=peak))
    assert len(day) * SYNC_S == DAY_S
    assert min(day) == pytest.approx(low)
    assert max(day) == pytest.approx(peak)
    assert sum(day) / len(day) == pytest.approx(mean, rel=0.01)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=96).filter(any))
@settings(max_examples=25, deadline=None)
def test_a_recorded_day_keeps_its_mean_and_its_range(parts: list[float]):
    mean = sum(parts) / len(parts)
    day = rates(replace(DAY, recorded_per_s=tuple(parts)))
    assert len(day) * SYNC_S == DAY_S
    assert min(parts) <= min(day)
    assert max(day) <= max(parts)
    assert sum(day) / len(day) == pytest.approx(mean, rel=0.01)


def test_growth_counts_only_where_it_leads_beyond():
    day = rates(replace(DAY, recorded_per_s=(0.0, 1.0, 8.0, 8.0)))
    assert math.isinf(fastest_growth(day, 600))
    assert 1 < fastest_growth(day, 600, beyond_per_s=4) < fastest_growth(day, 600, beyond_per_s=1)
    assert fastest_growth(day, 600, beyond_per_s=8) == 1


def test_a_flat_day_needs_no_change():
    flat = DayProfile(low_per_s=80, mean_per_s=80, peak_per_s=80)
    assert fastest_growth(rates(flat), 600) == 1
    still = played(flat, limit=50.0, min_replicas=2, target_per_s=40.0)
    assert still.replica_hours == pytest.approx(48)
    assert (still.scalings, still.flaps, still.over_limit_s) == (0, 0, 0)
    assert still.usd == pytest.approx(2.0 * 48)


def test_replicas_follow_the_load_between_their_bounds():
    one = played()
    assert one.most_replicas <= RULES.max_replicas
    assert one.over_limit_s == 0
    assert one.flaps == 0
    least = sum(rates(DAY)) * SYNC_S / HOUR_S / LIMIT  # replica hours, always full
    assert least < one.replica_hours < 24 * RULES.max_replicas
    assert one.worst_per_s <= LIMIT


def test_too_few_replicas_are_over_their_limit_and_a_late_one_too():
    assert played(max_replicas=8).over_limit_s > HOUR_S
    steep = DayProfile(low_per_s=2, mean_per_s=6, peak_per_s=60)
    assert played(steep, start_s=3000).over_limit_s > played(steep, start_s=30).over_limit_s
    day = rates(steep)
    assert fastest_growth(day, 3000) > fastest_growth(day, 300) > 1


def test_a_longer_window_changes_less_and_costs_no_less():
    nervous, calm = played(down_stabilization_s=15), played(down_stabilization_s=1800)
    assert calm.scalings <= nervous.scalings
    assert calm.replica_hours >= nervous.replica_hours
    assert calm.flaps == 0
    twitchy = DayProfile(low_per_s=0.5, mean_per_s=0.6, peak_per_s=1)  # few requests: chance rules
    fast = played(twitchy, target_per_s=0.1, down_stabilization_s=15)
    assert fast.flaps > played(twitchy, target_per_s=0.1, down_stabilization_s=900).flaps


def test_without_a_price_there_is_no_bill_and_the_dice_are_seeded():
    rules = RULES
    assert scaled_day(DAY, rules, LIMIT, lambda _: None).usd is None
    assert played(seed=1) == played(seed=1)
