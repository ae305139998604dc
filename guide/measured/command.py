"""What `guide calibrate` does: read the runs, fit, write, and report what the fit is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from guide.catalog import load
from guide.domain import FitTable
from guide.errors import SpecError
from guide.measured import store
from guide.measured.bench_file import Setup
from guide.measured.dataset import Dataset, compiled, is_open
from guide.measured.fitting import fit_all, table_of
from guide.measured.refine import refine
from guide.measured.slices import METRIC_NAMES, errors_of, observations
from guide.measured.sources import runs_of
from guide.perf.fits import UNFITTED
from guide.record import Record
from guide.report.tables import Table

SHOWN_REFUSALS = 10
COLUMNS = {
    "before": "before the fit",
    "fitted": "fitted",
    "row": "rows left out",
    "version": "versions left out",
    "model": "models left out",
    "architecture": "architectures left out",
    "gpu": "GPUs left out",
    "generation": "generations left out",
}
Say = Callable[[str], None]


class Request(Record, frozen=True, kw_only=True):
    """Which measurements to fit, and over what."""

    sources: tuple[Path, ...]
    setup: Setup
    from_scratch: bool = False
    base: Path | None = None  # fits to start from; None: the shipped ones


class Written(Record, frozen=True, kw_only=True):
    """The report of a fit."""

    tables: tuple[Table, ...]
    remarks: tuple[str, ...]
    summary: str


def run(request: Request, out: Path, say: Say) -> Written:
    """Fit the request's measurements and write `out`; `SpecError` where nothing can be fitted."""
    catalog = load(calibration=request.base)
    if request.from_scratch:
        catalog = replace(catalog, fits=UNFITTED)
    runs = [run for source in request.sources for run in runs_of(source, request.setup)]
    closed = [row for row, _ in runs if request.from_scratch and not is_open(row)]
    if request.from_scratch:
        runs = [(row, protocol) for row, protocol in runs if is_open(row)]
    dataset = compiled(runs, catalog)
    if not dataset.usable.any():
        raise SpecError("no run can be fitted: none states a TTFT, TPOT or total time to compare")
    names = ", ".join(_name(source) for source in request.sources)
    if request.from_scratch:
        fitted = fit_all(dataset, say)
        table = table_of(fitted, f"{len(fitted.dataset.cases)} open-licence rows of {names}")
        dataset, errors = fitted.dataset, fitted.errors
    else:
        refined = refine(catalog.fits, dataset, f"{len(dataset.cases)} rows of {names}", say)
        table, dataset, errors = refined.table, refined.dataset, refined.errors
    store.write(table, out)
    return Written(
        tables=(_errors(dataset, {name: e.tolist() for name, e in errors.items()}),),
        remarks=(*_left_aside(dataset, len(closed)), *_doubts(table, dataset)),
        summary=f"{len(dataset.cases)} runs, {len(table.rows)} levels",
    )


def _name(source: Path) -> str:
    return source.name if source.is_absolute() else source.as_posix()


def _errors(dataset: Dataset, errors: dict[str, Sequence[float]]) -> Table:
    items = observations(dataset, errors, {})
    used = [name for name in COLUMNS if name in errors]
    rows: list[tuple[str, ...]] = []
    for metric, label in METRIC_NAMES.items():
        chosen = [item for item in items if item.metric == metric and not item.exclusion]
        if chosen:
            cells = (str(errors_of(item.errors[name] for item in chosen)) for name in used)
            rows.append((label, str(len(chosen)), *cells))
    return Table(
        title="Error in %: mean / median / p90",
        heads=("metric", "values", *(COLUMNS[name] for name in used)),
        rows=tuple(rows),
        numeric=tuple(range(1, len(used) + 2)),
    )


def _left_aside(dataset: Dataset, closed: int) -> list[str]:
    """Rows that were given and not fitted, and why."""
    said = [f"Not fitted: {closed} rows without an open licence."] if closed else []
    for row, refused in dataset.refused[:SHOWN_REFUSALS]:
        said.append(f"Not fitted: {row.id or row.model}: {refused.detail}.")
    more = len(dataset.refused) - SHOWN_REFUSALS
    if more > 0:
        said.append(f"Not fitted: {more} more rows.")
    excluded = int((~dataset.usable).sum())
    if excluded:
        said.append(f"Not fitted: {excluded} values that contradict themselves (exclusions.yaml).")
    return said


def _doubts(table: FitTable, dataset: Dataset) -> list[str]:
    """Notes on the levels that these measurements moved."""
    seen = {key for case in dataset.cases for key in case.keys}
    return [f"Doubtful: {key[1]}: {note}." for key, note in table.notes.items() if key in seen]
