"""A table as plain text cells."""

from __future__ import annotations

from guide.record import Record


class Table(Record, frozen=True, kw_only=True):
    """A title, column heads and text cells; `numeric` are the columns to align on the right."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
