"""A recorded trace of requests, read and replayed as a stream.

The trace names when each request arrives and how long its prompt and its answer are. Only a window
of it is in memory, together with the requests that are being served: memory does not depend on the
length of the trace.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import cast

import numpy as np
import numpy.typing as npt

from guide.errors import SpecError
from guide.record import Record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Row = tuple[int, Sequence[object]]  # number of the line, and its cells in the order of COLUMNS
COLUMNS = ("arrival_s", "input_tokens", "output_tokens")
MOST_TOKENS = 10_000_000  # of a prompt or an answer, as in a plan
WINDOW = 4096  # requests read at once; as many may stand out of order


class Trace(Record, frozen=True):
    """A part of a trace, one element a request in order of arrival; the first of all arrives at
    0 s.
    """

    arrivals: Floats
    prompts: Ints
    outputs: Ints


def read_trace(lines: Iterable[str], name: str) -> Iterator[Trace]:
    """Read a trace part by part: JSON Lines where the first line begins with a brace, else CSV with
    a header.

    Further columns are ignored. Requests that stand no more than WINDOW lines too late are put in
    order. Raises `SpecError` naming line and column.
    """
    began = None
    latest = -math.inf
    held = np.empty((0, 4))  # line, arrival, prompt and output of what has been read, in order
    for part in _parts(lines, name):
        held = np.concatenate((held, part))
        held = held[np.argsort(held[:, 1], kind="stable")]
        ready = held[: max(0, len(held) - WINDOW)] if len(part) == WINDOW else held
        held = held[len(ready) :]
        if not len(ready):
            continue
        if ready[0, 1] < latest:
            raise SpecError(
                f"{name} line {int(ready[0, 0])}, column 'arrival_s': {ready[0, 1]:g} s stands more"
                f" than {WINDOW:,} lines after later arrivals; sort the trace by arrival_s"
            )
        latest = ready[-1, 1]
        began = ready[0, 1] if began is None else began
        yield Trace(
            arrivals=ready[:, 1] - began,
            prompts=ready[:, 2].astype(np.int64),
            outputs=ready[:, 3].astype(np.int64),
        )
    if began is None:
        raise SpecError(f"{name} holds no request: give {', '.join(COLUMNS)} for each, one a line")


def _parts(lines: Iterable[str], name: str) -> Iterator[Floats]:
    """Line, arrival, prompt and output of WINDOW requests; fewer, or none, in the last part."""
    unread = iter(lines)
    head: list[str] = []
    for line in unread:
        head.append(line)
        if line.strip():
            break
    json_lines = bool(head) and head[-1].lstrip().startswith("{")
    read = _json_lines if json_lines else _csv_lines
    rows = read(chain(head, unread), name)
    while True:
        part = list(islice(rows, WINDOW))
        yield _table(part, name)
        if len(part) < WINDOW:
            return


def _csv_lines(lines: Iterable[str], name: str) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    try:
        header = next(reader, list[str]())
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise SpecError(
                f"{name} line 1: column '{missing[0]}' is missing; add it to the header"
            )
        first, second, third = (header.index(column) for column in COLUMNS)
        width = len(header)
        for cells in reader:
            if len(cells) < width:
                if not cells:
                    continue
                cells += [""] * (width - len(cells))
            yield reader.line_num, (cells[first], cells[second], cells[third])
    except csv.Error as error:
        raise SpecError(f"{name} line {reader.line_num}: is no valid CSV ({error})") from None


def _json_lines(lines: Iterable[str], name: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise SpecError(f"{name} line {number}: is no valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise SpecError(f"{name} line {number}: must be an object with {', '.join(COLUMNS)}")
        found = cast("Mapping[str, object]", row)
        yield number, [found.get(column) for column in COLUMNS]


def _table(rows: Sequence[Row], name: str) -> Floats:
    """The rows as numbers: at once where all are in order, else cell by cell for the sentence."""
    table = np.empty((len(rows), 4))
    if not rows:
        return table
    table[:, 0] = [number for number, _ in rows]
    columns = tuple(zip(*(cells for _, cells in rows), strict=True))
    try:
        for index, cells in enumerate(columns, start=1):
            if bool in set(map(type, cells)):
                raise ValueError
            table[:, index] = np.array(cells, dtype=np.float64)
        tokens = table[:, 2:]
        fine = (
            np.isfinite(table).all()
            and (table[:, 1] >= 0).all()
            and ((tokens >= 1) & (tokens <= MOST_TOKENS) & (tokens == np.floor(tokens))).all()
        )
    except (TypeError, ValueError):
        fine = False
    if not fine:
        for index, (number, cells) in enumerate(rows):
            table[index, 1:] = _request(cells, f"{name} line {number}")
    return table


def _request(cells: Sequence[object], where: str) -> tuple[float, float, float]:
    arrival = _number(cells[0], f"{where}, column 'arrival_s'")
    if arrival < 0:
        raise SpecError(f"{where}, column 'arrival_s': {arrival:g} is negative; count from 0 s")
    prompt, output = (
        _tokens(cell, f"{where}, column '{column}'")
        for cell, column in zip(cells[1:], COLUMNS[1:], strict=True)
    )
    return arrival, prompt, output


def _number(value: object, where: str) -> float:
    if value is None or value == "":
        raise SpecError(f"{where}: is missing")
    try:
        number = math.nan if isinstance(value, bool) else float(cast("str", value))
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SpecError(f"{where}: {value!r} is no finite number")
    return number


def _tokens(value: object, where: str) -> float:
    number = _number(value, where)
    if number != int(number) or not 1 <= number <= MOST_TOKENS:
        raise SpecError(f"{where}: {value!r} must be a whole number from 1 to {MOST_TOKENS:,}")
    return number
