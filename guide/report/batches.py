"""The recommended layout under batches of other sizes (paper P20): throughput, time, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guide.domain import BatchPoint, Recommendation
from guide.report.table import Table
from guide.search.batches import knee
from guide.units import format_count, format_duration, format_seconds, significant

if TYPE_CHECKING:
    from guide.spec.answer import BatchPointDocument


def curve(recommendation: Recommendation) -> Table:
    """One size a row; the knee of the throughput and the chosen size are marked."""
    points = recommendation.batch_curve
    offline = any(point.job_s is not None for point in points)
    turn, chosen = turning_point(points), chosen_batch(recommendation)
    return Table(
        title="Batch size: the smallest within 2 % of the soonest is taken"
        if offline
        else "Batch size of replicas that are always full: the knee is taken unless limits, users "
        "or latencies ask for another",
        heads=("max seqs", "", "time", "tokens/s", "mean TPOT", "KV cache used"),
        rows=tuple(
            (
                str(point.max_num_seqs),
                ", ".join(
                    name
                    for name, size in (("knee", turn), ("chosen", chosen))
                    if point.max_num_seqs == size
                ),
                written_time(point),
                format_count(point.output_tokens_per_s),
                format_seconds(point.tpot_s),
                f"{point.kv_peak_share:.0%}",
            )
            for point in points
        ),
        numeric=(0, 2, 3, 4, 5),
    )


def document(point: BatchPoint) -> BatchPointDocument:
    """One size as JSON."""
    found: BatchPointDocument = {
        "maxNumSeqs": point.max_num_seqs,
        "outputTokensPerSecond": significant(point.output_tokens_per_s),
        "tpotSeconds": significant(point.tpot_s),
        "kvPeakShare": significant(point.kv_peak_share),
    }
    if point.job_s is not None:
        found["jobSeconds"] = significant(point.job_s)
    if point.e2e_s is not None:
        found["e2eSeconds"] = significant(point.e2e_s)
    return found


def turning_point(points: tuple[BatchPoint, ...]) -> int | None:
    """The knee of a curve, where it has one."""
    return knee([p.max_num_seqs for p in points], [p.output_tokens_per_s for p in points])


def chosen_batch(recommendation: Recommendation) -> int | None:
    """The batch limit of the recommended replicas."""
    best = recommendation.best
    return best and best.groups[0].group.limits.max_num_seqs


def written_time(point: BatchPoint) -> str:
    """That of a whole offline load, or of a mean request."""
    if point.job_s is not None:
        return format_duration(point.job_s)
    return format_seconds(point.e2e_s or 0.0)
