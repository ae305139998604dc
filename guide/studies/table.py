"""The rows of a small study as a table of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.report.tables import Table
from guide.studies.columns import Row
from guide.units import format_seconds, format_usd


def table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """One row a question: what varies, what to run, what it costs, how fast it is."""
    varied = [name.rsplit(".", 1)[-1] for name in names]
    heads = (*varied, "outcome", "GPU", "replicas", "GPUs", "USD/h", "TTFT p95", "E2E p95")
    return Table(
        title="Answers: p95 (upper end of its 90 % interval)",
        heads=heads,
        rows=tuple((*(_cell(row[name]) for name in names), *_answer(row)) for row in rows),
        numeric=tuple(range(len(varied) + 3, len(heads))),
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _answer(row: Row) -> tuple[str, ...]:
    outcome = row["outcome"]
    if row.get("gpus") is None:
        return (outcome, *[""] * 6)
    tp, pp = row["tp"], row["pp"]
    replica = "mixed" if tp is None or pp is None else f"TP {tp}" + f" x PP {pp}" * (pp > 1)
    usd = row["usd_per_h"]
    return (
        outcome,
        row["gpu"],
        f"{row['replicas']} x {replica}",
        str(row["gpus"]),
        "unknown" if usd is None else format_usd(usd),
        *(
            f"{format_seconds(row[f'{m}_p95_s'])} ({format_seconds(row[f'{m}_p95_upper_s'])})"
            for m in ("ttft", "e2e")
        ),
    )
