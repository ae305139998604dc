"""What an offline batch takes over the size of the running batch (paper, 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from guide.domain import Recommendation
from guide.units import format_count, format_duration
from guide.web.charts import (
    LEFT,
    RIGHT,
    WIDTH,
    Chart,
    Line,
    LogAxis,
    Mark,
    Tick,
    path,
    upwards,
)


def batch_curves(found: Recommendation) -> tuple[Chart, ...]:
    """Throughput and time of the recommended layout over the batch size, the chosen one marked."""
    points, best = found.batch_curve, found.best
    if best is None or len(points) < 2:
        return ()
    chosen = best.groups[0].group.limits.max_num_seqs
    x = LogAxis(
        bottom=points[0].max_num_seqs,
        top=points[-1].max_num_seqs,
        start=LEFT,
        end=WIDTH - RIGHT,
    )
    turn = Tick(at=x.at(chosen), text="chosen")

    def chart(
        name: str, title: str, y_title: str, values: list[float], write: Callable[[float], str]
    ) -> Chart:
        y = upwards(1.1 * max(values))
        written = [write(value) for value in values]
        pairs = list(zip(points, values, written, strict=True))
        return Chart(
            name=name,
            title=title,
            about=f"{title} with {points[0].max_num_seqs} sequence at a time: {written[0]}; with "
            f"{points[-1].max_num_seqs}: {written[-1]}. The smallest size within 2 % of the "
            "soonest is chosen.",
            x_title="sequences at a time (max-num-seqs)",
            y_title=y_title,
            x_ticks=x.ticks(lambda value: f"{value:,.0f}"),
            y_ticks=y.ticks(write),
            lines=(Line(points=path([(x.at(p.max_num_seqs), y.at(v)) for p, v, _ in pairs])),),
            marks=tuple(
                Mark(
                    x=x.at(p.max_num_seqs),
                    y=y.at(v),
                    kind="now" if p.max_num_seqs == chosen else "step",
                    text=f"{p.max_num_seqs}: {text}",
                )
                for p, v, text in pairs
            ),
            turn=turn,
            heads=("sequences at a time", y_title, "KV cache used"),
            rows=tuple(
                (str(p.max_num_seqs), text, f"{p.kv_peak_share:.0%}") for p, _, text in pairs
            ),
        )

    rates, times = ([p.output_tokens_per_s for p in points], [p.job_s for p in points])
    return (
        chart("batch-rate", "Throughput", "tokens/s", rates, format_count),
        chart("batch-time", "Time of the batch", "time", times, format_duration),
    )
