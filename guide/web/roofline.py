"""How well a GPU is used: typical steps of a replica under the two roofs of its datasheet."""

from __future__ import annotations

from guide.insight.explain import GroupExplanation, StepView
from guide.perf.ops import Role, gemm_peak_flop_per_s
from guide.record import Record
from guide.units import GB, TFLOP
from guide.web.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Line,
    LogAxis,
    Mark,
    Word,
    path,
)


class _Dot(Record, frozen=True):
    """A step of one GPU: what it does with each byte, how fast, and how fast its roof allows."""

    kind: str
    name: str
    flop_per_byte: float
    flop_per_s: float
    roof_flop_per_s: float
    limited: str

    @property
    def share(self) -> float:
        return self.flop_per_s / self.roof_flop_per_s

    @property
    def told(self) -> str:
        return f"{self.name} reaches {self.share:.0%} of what {self.limited} allows"


def roofline(item: GroupExplanation, number: int) -> Chart:
    """A dot for a step with a prompt, one for a step that only decodes; both axes logarithmic."""
    group = item.evaluated.group
    gpu = group.gpu
    peak = gemm_peak_flop_per_s(gpu, group.precision, Role.DENSE)
    bandwidth = gpu.hbm_bytes_per_s
    ridge = peak / bandwidth
    dots = [
        _dot("prompt", "reading prompts", item.prompt, peak, bandwidth),
        _dot("decode", "writing answers", item.decode, peak, bandwidth),
    ]
    x = LogAxis(
        bottom=min(1.0, *(dot.flop_per_byte / 2 for dot in dots)),
        top=max(10 * ridge, *(2 * dot.flop_per_byte for dot in dots)),
        start=LEFT,
        end=WIDTH - RIGHT,
    )
    y = LogAxis(
        bottom=min(x.bottom * bandwidth, *(dot.flop_per_s / 2 for dot in dots)),
        top=2.5 * peak,
        start=HEIGHT - BOTTOM,
        end=TOP,
    )
    corners = [(x.bottom, x.bottom * bandwidth), (ridge, peak), (x.top, peak)]
    gaps = [[(d.flop_per_byte, d.flop_per_s), (d.flop_per_byte, d.roof_flop_per_s)] for d in dots]
    lines = [("roof", corners), *(("gap", gap) for gap in gaps)]
    return Chart(
        name=f"roofline-{number}",
        title=f"How well {gpu.name} is used",
        about=f"Each dot is a typical step of one GPU; the line is the most that its datasheet "
        f"allows. Under the slope a step waits for memory, under the flat part for arithmetic. "
        f"Here {' and '.join(dot.told for dot in dots)}.",
        x_title="FLOP per byte that is moved",
        y_title="TFLOP/s",
        x_ticks=x.ticks(lambda value: f"{value:,.6g}"),
        y_ticks=y.ticks(lambda value: f"{value / TFLOP:,.6g}"),
        lines=tuple(
            Line(kind=kind, points=path([(x.at(a), y.at(b)) for a, b in points]))
            for kind, points in lines
        ),
        words=(
            Word(
                x=WIDTH - RIGHT,
                y=y.at(peak) - 7,
                text=f"arithmetic: {peak / TFLOP:,.4g} TFLOP/s",
                anchor="end",
            ),
            Word(
                x=x.at(x.bottom * (ridge / x.bottom) ** 0.75) - 8,
                y=y.at(x.bottom * bandwidth * (ridge / x.bottom) ** 0.75) - 4,
                text=f"memory: {bandwidth / GB:,.4g} GB/s",
                anchor="end",
            ),
            *(_named(d.name, x.at(d.flop_per_byte), y.at(d.flop_per_s)) for d in dots),
        ),
        marks=tuple(
            Mark(
                x=x.at(d.flop_per_byte),
                y=y.at(d.flop_per_s),
                kind=d.kind,
                text=d.told,
            )
            for d in dots
        ),
        heads=("step", "FLOP per byte", "TFLOP/s", "TFLOP/s at the roof", "share", "roof"),
        rows=tuple(
            (
                d.name,
                f"{d.flop_per_byte:,.3g}",
                f"{d.flop_per_s / TFLOP:,.4g}",
                f"{d.roof_flop_per_s / TFLOP:,.4g}",
                f"{d.share:.0%}",
                d.limited,
            )
            for d in dots
        ),
    )


def _named(name: str, x: float, y: float) -> Word:
    """The name of a dot: beside it, or below it where the plot ends."""
    if x < WIDTH - RIGHT - 110:
        return Word(x=x + 11, y=y + 4, text=name)
    return Word(x=min(x, WIDTH - RIGHT - 50), y=y + 22, text=name, anchor="middle")


def _dot(kind: str, name: str, view: StepView, peak: float, bandwidth: float) -> _Dot:
    flop, moved = sum(roof.flop for roof in view.roofs), sum(roof.bytes for roof in view.roofs)
    by_memory = flop / moved * bandwidth
    return _Dot(
        kind,
        name,
        flop / moved,
        flop / view.seconds,
        min(peak, by_memory),
        "memory bandwidth" if by_memory < peak else "arithmetic",
    )
