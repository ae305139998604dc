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
