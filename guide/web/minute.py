"""A simulated minute of a replica as charts: requests, KV cache, time to first token."""

from __future__ import annotations

from guide.insight.minute import Moment, Timeline
from guide.units import format_seconds
from guide.web.charts import Chart, Line, Mark, Tick, across, format_tick_seconds, path, upwards


def minute(timeline: Timeline, ttft_limit_s: float | None, number: int) -> tuple[Chart, ...]:
    """Three charts with the same seconds; none where no second was simulated."""
    if not timeline.moments:
        return ()
    return (
        _requests(timeline.moments, number),
        _cache(timeline, number),
        *_first_tokens(timeline.moments, ttft_limit_s, number),
    )


def _requests(moments: tuple[Moment, ...], number: int) -> Chart:
    x = across(moments[-1].second)
    y = upwards(1.15 * max(5, *(max(m.running, m.waiting) for m in moments)))
    most = max(moments, key=lambda m: m.running)
    waited = sum(m.waiting > 0 for m in moments)
    return Chart(
        name=f"requests-{number}",
        title="Requests in a replica",
        about=f"Up to {most.running} run at once; "
        + (f"some wait in {waited} of {len(moments)} seconds." if waited else "none waits."),
        x_title="seconds",
        y_title="requests",
        x_ticks=x.ticks(_plain),
        y_ticks=y.ticks(_plain),
        lines=(
            Line(points=path([(x.at(m.second), y.at(m.running)) for m in moments]), name="running"),
            Line(
                points=path([(x.at(m.second), y.at(m.waiting)) for m in moments]),
                kind="line waiting",
                name="waiting",
            ),
        ),
        heads=("second", "running", "waiting"),
        rows=tuple((str(m.second), str(m.running), str(m.waiting)) for m in moments),
    )


def _cache(timeline: Timeline, number: int) -> Chart:
    moments = timeline.moments
    x, y = across(moments[-1].second), upwards(1.0)
    preempted = timeline.preemptions
    return Chart(
        name=f"cache-{number}",
        title="KV cache in use",
        about=f"At most {max(m.kv_share for m in moments):.0%} is in use. "
        + (f"It ran out {preempted:,} times, and a request began again." if preempted else ""),
        x_title="seconds",
        y_title="share of the cache",
        x_ticks=x.ticks(_plain),
        y_ticks=y.ticks(lambda value: f"{value:.0%}"),
        lines=(Line(points=path([(x.at(m.second), y.at(m.kv_share)) for m in moments])),),
        heads=("second", "in use"),
        rows=tuple((str(m.second), f"{m.kv_share:.1%}") for m in moments),
    )


def _first_tokens(
    moments: tuple[Moment, ...], limit_s: float | None, number: int
) -> tuple[Chart, ...]:
    found = [(m.second, m.ttft_s) for m in moments if m.ttft_s is not None]
    if not found:
        return ()
    highest = max(ttft_s for _, ttft_s in found)
    shown = limit_s is not None and limit_s <= 3 * highest
    x = across(moments[-1].second)
    y = upwards(1.1 * (max(highest, limit_s or 0.0) if shown else highest))
    limit = "" if limit_s is None else format_seconds(limit_s)
    return (
        Chart(
            name=f"first-{number}",
            title="Time to first token, second by second",
            about=f"Each dot is the mean of the answers that begin in that second; the slowest "
            f"second has {format_seconds(highest)}.",
            x_title="seconds",
            y_title="mean",
            x_ticks=x.ticks(_plain),
            y_ticks=y.ticks(format_tick_seconds),
            marks=tuple(
                Mark(
                    x=x.at(second),
                    y=y.at(ttft_s),
                    kind="step",
                    text=f"second {second}: {format_seconds(ttft_s)}",
                )
                for second, ttft_s in found
            ),
            limit=Tick(at=y.at(limit_s), text=f"limit {limit}")
            if limit_s is not None and shown
            else None,
            note=f"The limit of {limit} lies above the chart." if limit and not shown else "",
            heads=("second", "mean TTFT"),
            rows=tuple((str(second), format_seconds(ttft_s)) for second, ttft_s in found),
        ),
    )


def _plain(value: float) -> str:
    return f"{value:,.4g}"
