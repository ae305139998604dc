"""The peak prefill throughput of a replica, with which routers are calibrated, in words (pure)."""

from __future__ import annotations

from guide.domain import Evaluation
from guide.report.sentences import precision
from guide.report.table import Table
from guide.units import format_count, format_range


def peaks(item: Evaluation) -> Table:
    """One row a replica group: prompt tokens/s of one replica that does nothing else."""
    return Table(
        title="Peak prefill of a replica, for routers",
        heads=("model", "GPU", "framework", "prompt tokens/s", "90 % interval", "numbers"),
        rows=tuple(
            (
                f"{g.group.model.name}, {precision(g)}",
                f"{g.group.gpus_per_replica} x {g.group.gpu.name}",
                g.group.framework,
                format_count(peak),
                format_range(within.lower, within.upper, format_count),
                g.provenance.value,
            )
            for g in item.groups
            if (peak := g.peak_prefill_tokens_per_s) and (within := g.peak_prefill_interval)
        ),
        numeric=(3, 4),
    )
