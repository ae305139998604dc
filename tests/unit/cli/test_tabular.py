"""Tables of the terminal at any width: no word broken, no line too long, nothing left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from guide.cli.tabular import fitted
from guide.report.tables import Table

GOLDEN = Path(__file__).parents[2] / "golden/terminal"
TOP = Table(
    title="Top three: p95 (upper end of its 90 % interval)",
    heads=("#", "GPU", "framework", "precision", "count", "USD/h", "TTFT p95", "E2E p95"),
    rows=(
        ("1", "A100-80GB", "vLLM", "bf16", "1", "$27.45", "218 ms (322 ms)", "8.33 s (10.62 s)"),
        ("2", "H100-SXM", "vLLM", "fp8-online", "2", "$55.04", "30 ms (44 ms)", "2.27 s (3.6 s)"),
    ),
    numeric=(0, 4, 5, 6, 7),
)
WHY = Table(
    title="Rejected",
    heads=("reason", "count", "nearest miss", "why"),
    rows=tuple(
        (
            reason,
            count,
            "1 x vLLM TP 16 PP 1 bf16 on a100-x8",
            "a replica of 16 GPUs spans nodes",
        )
        for reason, count in (("SpansNodes", "32"), ("OverBudget", "7"), ("Dominated", "5"))
    )
    * 2,
    numeric=(1,),
)


def drawn(table: Table, width: int) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(fitted(table, console))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_the_pinned_widths(width: int):
    text = "\n".join([*drawn(TOP, width), *drawn(WHY, width), ""])
    path = GOLDEN / f"{width}.txt"
    assert text == path.read_text(encoding="utf-8")


WORDS = st.text(st.sampled_from("abcdefg€ßx0123"), min_size=1, max_size=12)
CELLS = st.lists(WORDS, min_size=0, max_size=6).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    heads = draw(st.lists(WORDS, min_size=1, max_size=8))
    row = st.tuples(*[CELLS for _ in heads])
    rows = draw(st.lists(row, min_size=1, max_size=7))
    numeric = draw(st.sets(st.integers(0, len(heads) - 1)))
    return Table(title="t", heads=tuple(heads), rows=tuple(rows), numeric=tuple(sorted(numeric)))


@given(table=tables(), width=st.integers(40, 160))
def test_no_word_is_broken_and_no_line_too_long(table: Table, width: int):
    lines = drawn(table, width)
    assert max(map(cell_len, lines)) <= width
    found = sorted(word for line in lines for word in line.split())
    for word in {word for row in table.rows for cell in row for word in cell.split()}:
        assert found.count(word) >= sum(c.split().count(word) for r in table.rows for c in r)
