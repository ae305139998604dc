"""Tables of an offline batch: a bill and an end instead of a price per hour and latencies."""

from __future__ import annotations

from guide.domain import Evaluation, Job
from guide.report.table import Table
from guide.units import format_count, format_duration, format_range, format_seconds, format_usd

SERVICE_HEADS = ("time", "USD", "tokens/s", "USD/h")
UPPER = "time of the batch (upper end of its 90 % interval)"


def service(item: Evaluation, job: Job) -> tuple[str, ...]:
    """What a deployment does with the batch, under `SERVICE_HEADS`."""
    return (
        f"{format_duration(job.seconds)} ({format_duration(job.interval.upper)})",
        "unknown" if job.usd is None else format_usd(job.usd),
        format_count(item.predicted.output_tokens_per_s),
        "unknown" if item.usd_per_h is None else format_usd(item.usd_per_h),
    )


def predictions(item: Evaluation, job: Job) -> Table:
    """The batch as a whole, and how fast single answers are written."""
    p = item.predicted
    return Table(
        title="Predictions",
        heads=("metric", "estimate", "90 % interval"),
        rows=(
            (
                "Time of the batch",
                format_duration(job.seconds),
                format_range(job.interval.lower, job.interval.upper, format_duration),
            ),
            ("Bill of the batch", "unknown" if job.usd is None else format_usd(job.usd), ""),
            (
                "Output tokens/s",
                format_count(p.output_tokens_per_s),
                format_range(
                    p.output_tokens_interval.lower, p.output_tokens_interval.upper, format_count
                ),
            ),
            ("Mean gap between output tokens", format_seconds(p.tpot.mean_s), ""),
        ),
        numeric=(1, 2),
    )
