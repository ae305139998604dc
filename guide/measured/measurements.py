"""Measurements as CSV rows: columns, checks, and the error sentence with line and column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.record import Record

KINDS = ("static_batch", "burst", "concurrency", "rate")
CSV_PRECISION = {"fp4": "nvfp4"}
NAMES = {name.lower(): name for name in FRAMEWORKS}
REQUIRED = (
    "framework", "model", "gpu", "tp", "kind", "batch_or_concurrency", "isl", "osl",
)  # fmt: skip
MOST_REQUESTS = 100_000  # at once or per second: more is a slip of the pen, and would never end
MOST_TOKENS = 10_000_000


class Measurement(Record, frozen=True, kw_only=True):
    """One published run; measured values are None where the source gave none."""

    id: str
    source: str
    licence: str
    framework: str
    version: str
    date: str
    model: str
    precision: str
    kv_dtype: str
    gpu: str
    gpus: int
    tp: int
    pp: int
    dp: int
    ep: int
    kind: str
    load: float  # batch, users or requests/s
    prompt_tokens: float
    output_tokens: float
    semantics: str
    note: str
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    output_tokens_per_s: float | None

    def noted(self, pattern: str) -> float | None:
        """A number that the source states in its note, found by a regular expression with one
        group."""
        found = re.search(pattern, self.note)
        return float(found.group(1)) if found else None


def read_rows(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """Read a CSV of measurements: header, and each row after the place where it ends.

    Raises SpecError naming line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 text; save the CSV as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = list(reader.fieldnames or [])
    except csv.Error as error:
        raise SpecError(f"{path} line 1: is no valid CSV ({error})") from error
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise SpecError(f"{path} line 1: column '{missing[0]}' is missing; add it to the header")
    rows: list[tuple[str, dict[str, str]]] = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise SpecError(
                    f"{path} line {reader.line_num}: has another number of columns than the header"
                    f" ({len(header)}); quote values that hold commas"
                )
            rows.append((f"{path} line {reader.line_num}", row))
    except csv.Error as error:
        raise SpecError(f"{path} line {reader.line_num}: is no valid CSV ({error})") from error
    return header, rows


def measurements(path: Path) -> Iterator[Measurement]:
    """Parse every row of a CSV file."""
    _, rows = read_rows(path)
    for where, row in rows:
        yield parse(row, where)


def parse(row: dict[str, str], where: str) -> Measurement:
    """Check one row.

    Raises SpecError naming the line, the column and the mend.
    """

    def number(column: str, default: float | None = None) -> float | None:
        text = (row.get(column) or "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            raise SpecError(f"{where}, column '{column}': '{text}' is no number") from None
        if value != value or abs(value) == float("inf"):
            raise SpecError(f"{where}, column '{column}': '{text}' is no finite number")
        return value

    def positive(column: str, default: float | None = None) -> float:
        value = number(column, default)
        if value is None or value <= 0:
            raise SpecError(f"{where}, column '{column}': must be a number above zero")
        return value

    def within(column: str, most: float) -> float:
        value = positive(column)
        if value > most:
            raise SpecError(f"{where}, column '{column}': {value:g} is more than {most:,.0f}")
        return value

    def count(column: str, default: int) -> int:
        value = positive(column, default)
        if value != int(value):
            raise SpecError(f"{where}, column '{column}': {value:g} is no whole number")
        return int(value)

    def measured(column: str, unit: float = 1.0) -> float | None:
        value = number(column)
        if value is not None and value < 0:
            raise SpecError(f"{where}, column '{column}': a measured value is never below zero")
        return None if value is None else value * unit

    kind = row["kind"].strip()
    if kind not in KINDS:
        raise SpecError(f"{where}, column 'kind': '{kind}' is none of {', '.join(KINDS)}")
    framework = row["framework"].strip().lower()
    if framework not in NAMES:
        raise SpecError(f"{where}, column 'framework': '{framework}' is none of {', '.join(NAMES)}")
    tp = count("tp", 1)
    return Measurement(
        id=row.get("id", ""),
        source=row.get("source", ""),
        licence=row.get("licence", ""),
        framework=NAMES[framework],
        version=row.get("framework_version", ""),
        date=row.get("date", ""),
        model=row["model"].strip(),
        precision=row.get("precision", "").strip(),
        kv_dtype=row.get("kv_dtype", "").strip(),
        gpu=row["gpu"].strip(),
        gpus=count("n_gpus", tp),
        tp=tp,
        pp=count("pp", 1),
        dp=count("dp", 1),
        ep=count("ep", 1),
        kind=kind,
        load=within("batch_or_concurrency", MOST_REQUESTS),
        prompt_tokens=within("isl", MOST_TOKENS),
        output_tokens=within("osl", MOST_TOKENS),
        semantics=row.get("metric_semantics", ""),
        note=row.get("note", ""),
        ttft_s=measured("ttft_ms", 1e-3),
        tpot_s=measured("tpot_ms", 1e-3),
        e2e_s=measured("e2e_s"),
        output_tokens_per_s=measured("output_tput_tok_s"),
    )
