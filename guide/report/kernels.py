"""Which measured kernel prices which operator, as tables for a terminal."""

from __future__ import annotations

from guide.insight.explain import GroupExplanation
from guide.report.tables import Table


def kernel_tables(item: GroupExplanation, name: str = "") -> list[Table]:
    """The table of a group, where measured kernels price its steps."""
    return [_table(item, name)] if item.decode.kernels else []


def _table(item: GroupExplanation, name: str) -> Table:
    rows = tuple(
        (
            decode.operator,
            _us(decode.seconds),
            _us(prompt.seconds),
            decode.chosen.level.kernel,
            decode.chosen.level.dtype,
            f"{decode.chosen.level.gpu}, {decode.chosen.level.source}",
            f"{decode.chosen.level.rows:,}",
            f"{decode.chosen.level.median_error:g} / {decode.chosen.level.p90_error:g}",
            decode.chosen.relative,
        )
        for decode, prompt in zip(item.decode.kernels, item.prompt.kernels, strict=True)
    )
    return Table(
        title=f"Measured kernels behind a step of one GPU{name}, before any fitted factor",
        heads=(
            "operator", "decode", "prompt", "kernel", "type", "measured on", "rows",
            "form off by %: median / p90", "because",
        ),
        rows=rows,
        numeric=(1, 2, 6, 7),
    )  # fmt: skip


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds else "–"
