"""What the charts show, as coordinates; `templates/charts.html` draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from guide.domain import Evaluation, GroupEvaluation, Plan, Slo
from guide.insight.load_curve import LoadPoint, knee
from guide.record import Record
from guide.report.sentences import parallel
from guide.units import (
    GIB,
    format_bytes,
    format_range,
    format_rate,
    format_seconds,
)

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44  # margins of the plot
NAMES = {"ttft": "Time to first token", "tpot": "Time per output token", "e2e": "Whole answer"}


class Tick(Record, frozen=True, kw_only=True):
    """A mark on an axis."""

    at: float
    text: str


class Axis(Record, frozen=True, kw_only=True):
    """Values from 0 to `top` on the pixels from `start` to `end`."""

    top: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value; values beyond the top stay at the edge."""
        share = min(value / self.top, 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, write: Callable[[float], str]) -> tuple[Tick, ...]:
        """Round values along the axis, four to six of them."""
        step = _round_step(self.top / 5)
        values = [step * n for n in range(int(self.top / step + 1e-9) + 1)]
        return tuple(Tick(at=self.at(value), text=write(value)) for value in values)


class LogAxis(Record, frozen=True, kw_only=True):
    """Values from `bottom` to `top`, both above 0, by their logarithm."""

    bottom: float
    top: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value; values beyond an end stay there."""
        share = math.log(value / self.bottom) / math.log(self.top / self.bottom)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self, write: Callable[[float], str]) -> tuple[Tick, ...]:
        """The powers of ten along the axis."""
        first, last = (math.log10(value) for value in (self.bottom, self.top))
        powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
        return tuple(Tick(at=self.at(10.0**n), text=write(10.0**n)) for n in powers)


class Line(Record, frozen=True, kw_only=True):
    """A line through points; `kind` is a class of the style sheet, `name` stands in the legend."""

    points: str
    kind: str = "line"
    name: str = ""


class Word(Record, frozen=True, kw_only=True):
    """Words in the plot."""

    x: float
    y: float
    text: str
    anchor: str = "start"


class Mark(Record, frozen=True, kw_only=True):
    """A point with its words; `kind` is a class of the style sheet."""

    x: float
    y: float
    kind: str
    text: str
    label: str = ""


class Chart(Record, frozen=True, kw_only=True):
    """A plot with two axes."""

    name: str
    title: str
    about: str  # for people who do not see it
    x_title: str
    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...] = ()
    lines: tuple[Line, ...] = ()
    words: tuple[Word, ...] = ()
    band: str = ""
    limit: Tick | None = None  # the service level, across the plot
    now: Tick | None = None  # the load that is asked for
    turn: Tick | None = None  # the knee
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


class Segment(Record, frozen=True, kw_only=True):
    """A part of the memory bill: percent of the bar from `start`."""

    kind: str
    name: str
    text: str
    start: float
    width: float


class Bill(Record, frozen=True, kw_only=True):
    """Where the memory of one GPU of a group goes."""

    title: str
    total: str
    segments: tuple[Segment, ...]
    note: str


def across(top: float) -> Axis:
    """The horizontal axis of a plot, from 0."""
    return Axis(top=top, start=LEFT, end=WIDTH - RIGHT)


def upwards(top: float) -> Axis:
    """The vertical axis of a plot, from 0."""
    return Axis(top=top, start=HEIGHT - BOTTOM, end=TOP)


def _round_step(least: float) -> float:
    """The next of 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9))


def memory_bills(item: Evaluation) -> tuple[Bill, ...]:
    """One bar for each group of a deployment."""
    return tuple(_bill(group) for group in item.groups)


def _bill(item: GroupEvaluation) -> Bill:
    memory = item.memory
    parts = (
        ("weights", "Weights", memory.weight_bytes),
        ("kv", "KV cache", memory.kv_bytes),
        ("activations", "Activations", memory.activation_bytes),
        ("reserved", "Kept free and runtime", memory.reserved_bytes),
    )
    segments: list[Segment] = []
    start = 0.0
    for kind, name, size in parts:
        width = 100 * size / memory.hbm_bytes
        segments.append(
            Segment(
                kind=kind,
                name=name,
                text=format_bytes(size),
                start=round(start, 2),
                width=round(width, 2),
            )
        )
        start += width
    return Bill(
        title=f"{item.group.gpu.name}, {parallel(item)}",
        total=format_bytes(memory.hbm_bytes),
        segments=tuple(segments),
        note=f"The KV cache of a replica holds {memory.replica_kv_tokens:,} tokens: "
        f"{item.max_concurrent_requests:,} typical requests at once, in "
        f"{memory.kv_bytes / GIB:.1f} GiB per GPU.",
    )


def loads(points: Sequence[LoadPoint], plan: Plan) -> tuple[Chart, ...]:
    """Latency over load, one chart for each metric."""
    if len(points) < 2:
        return ()
    return tuple(_load(points, plan, metric) for metric in NAMES)


def _load(points: Sequence[LoadPoint], plan: Plan, metric: str) -> Chart:
    open_loop = plan.workload.requests_per_s is not None
    unit = "requests/s" if open_loop else "requests at a time"
    limit_s = _limit(plan.slo, metric)
    highest = max(point.upper_s[metric] for point in points)
    shown = limit_s is not None and limit_s <= 3 * highest
    x = across(points[-1].load)
    y = upwards(1.1 * (max(highest, limit_s or 0.0) if shown else highest))
    turn = knee(points, metric)
    asked = plan.workload.requests_per_s or float(plan.workload.concurrency or 1)
    return Chart(
        name=metric,
        title=NAMES[metric],
        about=_told(points, metric, limit_s, turn, unit),
        x_title=unit,
        y_title="p95",
        x_ticks=x.ticks(lambda value: f"{value:,.4g}"),
        y_ticks=y.ticks(format_tick_seconds),
        lines=(Line(points=path([(x.at(p.load), y.at(p.p95_s[metric])) for p in points])),),
        band=path(
            [(x.at(p.load), y.at(p.upper_s[metric])) for p in points]
            + [(x.at(p.load), y.at(p.lower_s[metric])) for p in reversed(points)]
        ),
        marks=tuple(
            Mark(
                x=x.at(p.load),
                y=y.at(p.p95_s[metric]),
                kind="now" if p.load == asked else "step",
                text=f"{format_rate(p.load)} {unit}: {format_seconds(p.p95_s[metric])}",
            )
            for p in points
        ),
        limit=Tick(at=y.at(limit_s), text=f"limit {format_seconds(limit_s)}")
        if limit_s is not None and shown
        else None,
        now=Tick(at=x.at(asked), text="asked"),
        turn=Tick(at=x.at(turn.load), text="knee") if turn else None,
        heads=(unit, "p95", "90 % interval"),
        rows=tuple(
            (
                format_rate(p.load),
                format_seconds(p.p95_s[metric]),
                format_range(p.lower_s[metric], p.upper_s[metric], format_seconds),
            )
            for p in points
        ),
        note=f"The limit of {format_seconds(limit_s)} lies above the chart."
        if limit_s is not None and not shown
        else "",
    )


def _told(
    points: Sequence[LoadPoint],
    metric: str,
    limit_s: float | None,
    turn: LoadPoint | None,
    unit: str,
) -> str:
    first, last = points[0], points[-1]
    words = [
        f"p95 grows from {format_seconds(first.p95_s[metric])} at {format_rate(first.load)} {unit} "
        f"to {format_seconds(last.p95_s[metric])} at {format_rate(last.load)}."
    ]
    if turn is not None:
        words.append(f"The curve turns up at about {format_rate(turn.load)} {unit}.")
    if limit_s is not None:
        kept = [p.load for p in points if p.upper_s[metric] <= limit_s]
        words.append(
            f"The limit of {format_seconds(limit_s)} holds up to {format_rate(max(kept))} {unit}."
            if kept
            else f"The limit of {format_seconds(limit_s)} holds at no load."
        )
    return " ".join(words)


def _limit(slo: Slo, metric: str) -> float | None:
    return {"ttft": slo.ttft_p95_s, "tpot": slo.tpot_p95_s, "e2e": slo.e2e_p95_s}[metric]


def path(points: Sequence[tuple[float, float]]) -> str:
    """Points as SVG wants them."""
    return " ".join(f"{x},{y}" for x, y in points)


def format_tick_seconds(value: float) -> str:
    """A round duration on an axis."""
    return f"{value:.3g} s" if value >= 1 or value == 0 else f"{value * 1e3:.3g} ms"
