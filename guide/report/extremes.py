"""The paper's three answers (P2): best, of highest throughput, of lowest time."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import Recommendation
from guide.report.table import Table
from guide.report.tables import deployments


def three_answers(recommendation: Recommendation) -> Table:
    """One answer a row, in the columns of every list of deployments; empty without an answer."""
    r = recommendation
    named = {
        "best": r.best,
        "highest throughput": r.highest_throughput,
        "lowest time": r.lowest_latency,
    }
    shown = {name: item for name, item in named.items() if item is not None}
    table = deployments("Three answers", list(shown.values()))
    return replace(
        table,
        heads=("answer", *table.heads[1:]),
        rows=tuple((name, *row[1:]) for name, row in zip(shown, table.rows, strict=True)),
        numeric=table.numeric[1:],
    )
