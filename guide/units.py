"""Human units as base-unit constants, and their formatting."""

from __future__ import annotations

from collections.abc import Callable

MIB = 1024**2
GIB = 1024**3
GB = 1e9
TFLOP = 1e12
MILLISECOND = 1e-3


def format_bytes(count: float) -> str:
    """Render bytes in GiB (or MiB below one GiB), one decimal."""
    if abs(count) >= GIB:
        return f"{count / GIB:.1f} GiB"
    return f"{count / MIB:.1f} MiB"


def format_seconds(seconds: float) -> str:
    """Render a duration in the unit a reader expects: us, ms or s."""
    if abs(seconds) < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if abs(seconds) < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.2f} s"


def format_duration(seconds: float) -> str:
    """Render how long a job takes in the largest unit of which there are two: s, min or h."""
    unit, size = next((u for u in (("h", 3600), ("min", 60)) if seconds >= 2 * u[1]), ("s", 1))
    return (
        f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:,.0f} {unit}"
    )


def format_usd(usd: float) -> str:
    """Render dollars with cents."""
    return f"${usd:,.2f}"


def significant(value: float) -> float:
    """A predicted number for JSON, in five significant digits: more would be noise."""
    return float(f"{value:.5g}")


def format_count(value: float) -> str:
    """Render a count or a rate in four significant digits, with thousands separators."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{float(f'{value:.4g}'):,.0f}"


def format_rate(value: float) -> str:
    """Render a rate that is no better known than three digits, never with an exponent."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def format_share(share: float) -> str:
    """Render a share of memory as a flag states it: two digits, or three where they tell more."""
    return f"{share:.3f}".removesuffix("0")


def format_milliseconds(seconds: float) -> str:
    """Render a latency in the unit in which plans state their limits."""
    return f"{format_count(seconds * 1e3)} ms"


def format_range(lower: float, upper: float, render: Callable[[float], str]) -> str:
    """Render a range; nothing where both ends read alike, as of a load that is served whole."""
    ends = render(lower), render(upper)
    return "" if ends[0] == ends[1] else " – ".join(ends)


def whole(value: float) -> int | float:
    """An integer where the value is one: counts and milliseconds print without a point."""
    return int(value) if float(value).is_integer() else value
