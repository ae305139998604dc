"""Numbers for readers: no exponents, no empty ranges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guide.units import (
    format_count,
    format_milliseconds,
    format_range,
    format_rate,
    format_seconds,
    format_share,
)


@pytest.mark.parametrize("render", [format_count, format_rate, format_milliseconds, format_seconds])
@given(value=st.floats(1e-3, 1e9))
def test_no_reader_meets_an_exponent(render: Callable[[float], str], value: float):
    assert "e" not in render(value)


def test_latencies_are_said_as_limits_are_stated():
    assert format_milliseconds(16.41) == "16,410 ms"
    assert format_milliseconds(0.0305) == "30.5 ms"


def test_a_range_of_one_value_is_none():
    assert format_range(2048, 2048.3, format_count) == ""
    assert format_range(1.0, 2.0, format_seconds) == "1.00 s – 2.00 s"


@pytest.mark.parametrize(("share", "text"), [(0.828, "0.828"), (0.9, "0.90"), (1.0, "1.00")])
def test_a_share_of_memory_is_the_one_of_its_flag(share: float, text: str):
    """Rounded to two digits, a status would hold another cache than the server."""
    assert format_share(share) == text
    assert float(text) == share
