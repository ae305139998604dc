"""Tables as wide as the terminal: no word is ever broken.

A table that is too wide wraps text between words; where even that does not suffice, few rows stand
as columns beside each other, and many below each other, a line for each cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Drawn

from guide.report.tables import Table

PLAIN_WIDTH = 160  # columns when the output is no terminal
FEW = 4  # rows that can stand beside each other
GAP = 3  # columns of the terminal between two of a table


def print_table(table: Table) -> None:
    """Print a table; nothing for an empty one."""
    if not table.rows:
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    console.print(fitted(table, console))


def fitted(table: Table, console: Console) -> Drawn:
    """The first form that fits into the width of `console`, or else the narrowest."""
    found = _columns(table.title, table.heads, table.rows, table.numeric, console.width)
    if found is None and len(table.rows) <= FEW:  # turned: a row for each head
        turned = tuple(zip(table.heads, *table.rows, strict=True))
        found = _columns(table.title, ("",) * len(turned[0]), turned, (0,), console.width)
    return _records(table) if found is None else found


def _columns(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[int],
    width: int,
) -> Drawn | None:
    """A table with columns no narrower than their longest word or number; None if too wide."""
    drawn = _empty(title, head=any(heads))
    least: list[int] = []
    wanted: list[int] = []
    for index, head in enumerate(heads):
        cells = [row[index] for row in rows]
        words = cells if index in numeric else [w for cell in cells for w in cell.split()]
        least.append(max(map(cell_len, (*head.split(), *words)), default=0))
        wanted.append(max(map(cell_len, (head, *cells))))
    room = width - 2 - GAP * (len(heads) - 1)
    if sum(least) > room:
        return None

    def widths(level: int) -> list[int]:
        """The widest columns give way first: none is wider than `level` that need not be."""
        return [max(low, min(high, level)) for low, high in zip(least, wanted, strict=True)]

    level = max((at for at in range(1, room + 1) if sum(widths(at)) <= room), default=0)
    for index, head in enumerate(heads):
        justify = "right" if index in numeric else "left"
        drawn.add_column(head, justify=justify, width=widths(level)[index])
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _empty(title: str, *, head: bool) -> Drawn:
    style = box.SIMPLE_HEAD if head else box.SIMPLE
    return Drawn(title=title, title_justify="left", box=style, show_header=head, pad_edge=False)


def _records(table: Table) -> Drawn:
    """Each row on lines of its own, a line for each cell that says something."""
    drawn = _empty(table.title, head=False)
    drawn.add_column(justify="right", no_wrap=True)
    drawn.add_column(overflow="fold")
    for row in table.rows:
        said = [(head, cell) for head, cell in zip(table.heads, row, strict=True) if cell]
        for head, cell in said:
            drawn.add_row(head, cell, end_section=(head, cell) == said[-1])
    return drawn
