"""Throughput, time and memory over the size of the running batch (paper 2.4.4, 5.1)."""

from __future__ import annotations

from collections.abc import Callable

from guide.domain import Recommendation
from guide.report.batches import chosen_batch, turning_point
from guide.units import format_count, format_duration, format_seconds
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
    """Throughput, time and memory of the recommended layout over the batch size; the chosen one and
    the knee of the throughput are marked.
    """
    points, chosen = found.batch_curve, chosen_batch(found)
    if chosen is None or len(points) < 2:
        return ()
    offline = points[0].job_s is not None
    knee = turning_point(points)
    x = LogAxis(
        bottom=points[0].max_num_seqs,
        top=points[-1].max_num_seqs,
        start=LEFT,
        end=WIDTH - RIGHT,
    )
    turn = None if knee is None else Tick(at=x.at(knee), text="knee")

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
            f"{points[-1].max_num_seqs}: {written[-1]}. Chosen: {chosen}; knee of the throughput: "
            f"{knee}.",
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
            heads=("sequences at a time", y_title),
            rows=tuple((str(p.max_num_seqs), text) for p, _, text in pairs),
        )

    rates = [p.output_tokens_per_s for p in points]
    times = [p.job_s or p.e2e_s or 0.0 for p in points]
    shares = [p.kv_peak_share for p in points]
    return (
        chart("batch-rate", "Throughput", "tokens/s", rates, format_count),
        chart(
            "batch-time",
            "Time of the batch" if offline else "Time of a request",
            "time",
            times,
            format_duration if offline else format_seconds,
        ),
        chart("batch-memory", "KV cache", "in use", shares, lambda share: f"{share:.0%}"),
    )
