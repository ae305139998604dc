"""README's plan does no more work than it did when its counts were accepted."""

from __future__ import annotations

from hack.bench.work import count, grown, stored


def test_readmes_plan_does_no_more_work():
    """The same on each machine, busy or not. More work for a reason: `make counts`."""
    assert grown(stored(), count()) == []


def test_growth_is_told_beyond_its_bound_and_shrinking_is_not():
    before = {"all calls": 1000, "calls in search": 100, "modules of others": 50}
    assert grown(before, {**before, "all calls": 1150, "calls in search": 1}) == []
    assert grown(before, {**before, "all calls": 1151}) == [
        "all calls: 1,000 before, 1,151 now (+15%)"
    ]
    assert len(grown(before, {key: 2 * each for key, each in before.items()})) == 3
