"""Requests fed in parts end when they would if all were known before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.perf.fits import ServingParams
from guide.simulate.arrivals import Requests
from guide.simulate.cost import LayoutCost
from guide.simulate.stream import Stream
from guide.simulate.times import Times, times_of
from tests.step_by_step import FACTS, PARAMS, Case, cases

PER_REQUEST = (  # what a replica has one element a request of
    *("prompt", "output", "cached", "arrival_s", "start_s", "first_token_s", "finish_s"),
    *("generated", "computed", "blocks"),
)
SERVING = ServingParams(r0=0.003, rt=1e-6, rw=0.0, u=2e-4)


def part_of(case: Case, first: int, end: int) -> Requests:
    lists = (case.prompts, case.outputs, case.arrivals, case.cached)
    return Requests(*(values[first:end] for values in lists))  # pyright: ignore[reportArgumentType]


def stream_of(case: Case) -> Stream:
    cost = LayoutCost(FACTS, PARAMS)
    return Stream(case.policy, cost, SERVING, window=case.window)


def in_order(times: list[Times | None]) -> list[tuple[float, ...]]:
    """One tuple a request, whatever the order in which they were returned."""
    return sorted(row for part in times if part is not None for row in zip(*part, strict=True))


@settings(max_examples=200)
@given(cases().filter(lambda case: case.users is None), st.integers(1, 24))
def test_parts_are_served_as_the_whole(case: Case, size: int):
    whole = case.replica(LayoutCost(FACTS, PARAMS))
    whole.run()
    count = len(case.prompts)
    expected: list[Times | None] = []
    if len(whole.refused) < count:
        expected = [times_of(whole, SERVING)]

    stream = stream_of(case)
    found = [stream.feed(part_of(case, i, i + size)) for i in range(0, count, size)]
    found.append(stream.close())

    got, wanted = in_order(found), in_order(expected)
    assert len(got) == len(wanted)
    # to rounding: the whole may cut a run where a request was due that has been refused meanwhile
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
    assert stream.turned_away == len(whole.refused)
    assert stream.clock == pytest.approx(whole.clock, rel=1e-9)
    assert (stream.block_peak, stream.preemptions) == (whole.block_peak, whole.preemptions)
    assert stream.free_blocks == case.policy.kv_blocks
    assert not any(getattr(stream, name) for name in PER_REQUEST), "something is still held"


@given(cases())
def test_every_list_by_request_is_known(case: Case):
    """A list that `Stream` does not know would keep what it should forget."""
    longer = replace(case, window=None)
    replica = longer.replica(LayoutCost(FACTS, PARAMS))
    count = len(case.prompts)
    lists = {
        name for name, value in vars(replica).items() if isinstance(value, list) and len(value)
    }
    assert lists == set(PER_REQUEST)
    assert all(len(getattr(replica, name)) == count for name in lists)
