"""The error report: fits from scratch, leaves groups out, writes docs/accuracy.md and the ratchet.

Run as ``python -m hack.accuracy``, or ``make accuracy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from guide.catalog import load
from guide.domain import Catalog, FitTable
from guide.measured.dataset import is_open, read
from guide.measured.fitting import fit_all, table_of
from guide.measured.measurements import measurements
from guide.measured.slices import SLICES, Errors, LeftOut, observed
from guide.perf.fits import UNFITTED
from guide.report.review import markdown_table
from guide.report.tables import Table
from hack.accuracy import left_out, ratchet, tables
from hack.accuracy.plots import scatter

DATA = Path("tests/accuracy/data")
RATCHET = Path("tests/accuracy/ratchet.yaml")
REPORT = Path("docs/accuracy.md")
ALL_ROWS = Path("docs/accuracy-all-rows.md")
PLOTS = "accuracy"  # folder beside the report

INTRODUCTION = """\
# How accurate the predictions are

Written by `make accuracy` (a quarter of an hour); do not edit. {rows} measured runs of {sources}
public sources, all under an open licence (`tests/accuracy/data`), each replayed under the protocol
of its source.

An error is |predicted / measured - 1|. *Shipped* is what `guide predict` says with the shipped
`calibration.yaml`; *fitted* is a fit from scratch on the same rows. *Left out* are errors of rows
that the fit has not seen: single rows at random (five folds), or all rows of a version, a model
with its quantised variants, an architecture, a GPU, a generation. Rows that contradict themselves
are kept out of the fit but not out of the tables."""

ALL_INTRODUCTION = """\
# Errors over all measured rows

Written by `make accuracy EXTRA=FILE`; do not edit. {rows} measured runs of {sources} public
sources: those of [accuracy.md](accuracy.md) and rows that may be read but not redistributed. The
columns mean what they mean there; *shipped* covers all rows too, of which the shipped fit has seen
only the open ones."""

SHORTFALLS = """\
Left-out errors above what is asked of their slice, and slices whose 90 % intervals hold fewer than
80 %. *Times*: the error over what is asked, of mean and median the worse."""

INTERVALS = """\
The interval of a left-out value comes from the left-out errors of others, never from its own or
from those that were left out with it. Of each way of being new those values tell of which, left out
so, nothing graver is new: of a version those whose model stays measured on that GPU, of a GPU those
whose generation does. Asked: 85 to 97 % inside over all, 80 % in each slice, and a median width
(upper minus lower end, relative to the prediction) below eight times the mean error allowed."""

RANKS = """\
Runs of the same model, GPU and load that differ in framework, precision or parallelism, ordered by
prediction and by measurement: 1 is the same order, 0 is chance."""

WINNERS = """\
Bursts of the same model, lengths and size on the same GPUs under two frameworks: above 1 the one
before the stroke is slower. A prediction is right where it names the same winner; measured within
10 % of each other there is none, which counts a half."""

DOUBTS = """\
A share within 1 % of its bound, or a time that the fit removed, is no measurement. With fewer than
five rows a GPU counts as extrapolated."""


def main(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="CSV files; default: all of tests/accuracy/data.")
    ] = None,
    extra: Annotated[
        Path | None, typer.Option("--extra", help="More rows, for docs/accuracy-all-rows.md.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Commit the errors to the ratchet even if they grew.")
    ] = False,
    ratchet_only: Annotated[
        bool,
        typer.Option("--ratchet-only", help="No refit and no report: seconds instead of minutes."),
    ] = False,
) -> None:
    """Measure the errors of the engine on measured rows and write the report."""
    catalog = load()
    unfitted = replace(catalog, fits=UNFITTED)
    paths = sources or sorted(DATA.glob("*.csv"))
    shipped = ratchet.by_slice(_shipped(paths, catalog, only_open=True), "shipped")
    if not ratchet_only:
        items, table = _fitted(paths, unfitted)
        _write(REPORT, _report(INTRODUCTION, items, table, shipped, _plots(items)))
        left_out.write(items)
        if extra is not None:
            everything = [*paths, extra]
            seen = ratchet.by_slice(_shipped(everything, catalog, only_open=False), "shipped")
            items, table = _fitted(everything, unfitted)
            _write(ALL_ROWS, _report(ALL_INTRODUCTION, items, table, seen, ()))
    _turn(ratchet.numbers(shipped), accept)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {path}.")


def _turn(now: ratchet.Numbers, accept: bool) -> None:
    """Tighten the ratchet, or exit 1 when an error grew."""
    committed = ratchet.read(RATCHET)
    said = ratchet.grown(committed, now)
    for line in said:
        typer.echo(line, err=True)
    if said and not accept:
        typer.echo(f"{RATCHET} stays; --accept takes the larger errors.", err=True)
        raise typer.Exit(1)
    ratchet.write(RATCHET, now if accept else ratchet.tightened(committed, now))
    typer.echo(f"Wrote {RATCHET}.")


def _shipped(paths: list[Path], catalog: Catalog, only_open: bool) -> list[LeftOut]:
    rows = (row for path in paths for row in measurements(path))
    return ratchet.shipped((row for row in rows if is_open(row) or not only_open), catalog)


def _fitted(paths: list[Path], catalog: Catalog) -> tuple[list[LeftOut], FitTable]:
    fitted = fit_all(read(paths, catalog), lambda text: typer.echo(text, err=True))
    return observed(fitted), table_of(fitted, "")


def _plots(items: list[LeftOut]) -> tuple[str, ...]:
    lines: list[str] = []
    for part in SLICES:
        chosen = [item for item in items if part.holds(item)]
        if chosen:
            path = scatter(part, chosen, REPORT.parent / PLOTS)
            lines.append(f"![{part.name}: predicted against measured]({PLOTS}/{path.name})")
    return tuple(lines)


def _report(
    introduction: str,
    items: list[LeftOut],
    table: FitTable,
    shipped: Mapping[str, Errors],
    plots: tuple[str, ...],
) -> str:
    rows = {item.case.row.id for item in items}
    sources = {item.case.row.source for item in items}
    parts = [
        introduction.format(rows=f"{len(rows):,}", sources=len(sources)),
        _section(tables.shortfalls(items), SHORTFALLS),
        _section(tables.targets(items, shipped)),
        _section(tables.intervals(items), INTERVALS),
        _section(tables.by_kind(items)),
        _section(tables.by_gpu(items)),
        _section(tables.ranks(items), RANKS),
        _section(tables.winners(items), WINNERS),
        _section(tables.worst(items)),
        _section(tables.excluded(items)),
        _section(tables.doubts(table), DOUBTS),
        _section(tables.versions(items)),
    ]
    if plots:
        parts.append("## Predicted against measured\n\n" + "\n\n".join(plots))
    return "\n\n".join(parts) + "\n"


def _section(table: Table, words: str = "") -> str:
    body = markdown_table(table) if table.rows else "None."
    return f"## {table.title}\n\n" + (f"{words}\n\n" if words else "") + body


if __name__ == "__main__":
    typer.run(main)
