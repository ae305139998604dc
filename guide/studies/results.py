"""The results of a study: rows that are kept in a Parquet file while they come."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet as parquet  # pyright: ignore[reportMissingTypeStubs]

import guide
from guide.domain import Catalog
from guide.errors import SpecError
from guide.record import Record
from guide.studies.columns import COLUMNS, Outcome, Row, cell, reason_row
from guide.studies.run import Hire, StudyTask, answers
from guide.studies.study import Point

pa: Any = pyarrow  # they have no types
pq: Any = parquet

SAVE_S = 5.0  # an interrupted sweep loses no more than this
TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
_POINT = ("digest", "cluster")  # belong to the place in the study, not to the answer


class Asked(Record, frozen=True, kw_only=True):
    """A point of a study: the question that it makes, or why it makes none."""

    point: Point
    question: StudyTask | None
    invalid: str = ""


class Results:
    """Rows in the order of the study. Those answered before, by this GUIDE and these facts, are
    taken over from the file.
    """

    def __init__(self, path: Path, asked: Sequence[Asked], catalog: Catalog) -> None:
        """`SpecError` where the file exists and is no result of a sweep."""
        self.path = path
        self._asked = asked
        self._catalog = catalog
        self._places: dict[str, list[int]] = defaultdict(list)
        self._answers: dict[int, Row] = {}
        for number, one in enumerate(asked):
            if one.question is None:
                facts = {"guide_version": guide.__version__, "catalog_digest": catalog.digest}
                self._answers[number] = reason_row(Outcome.INVALID, one.invalid) | facts
            else:
                self._places[one.question.digest].append(number)
        known = _kept(path)
        for digest in known.keys() & self._places.keys():
            self._enter(digest, known[digest])
        self.taken_over = len(known.keys() & self._places.keys())

    def run(self, hire: Hire) -> Iterator[int]:
        """Ask what is not known; yields how many rows each answer fills, and saves on the way."""
        saved = time.monotonic()
        open_questions = [
            self._asked[places[0]].question
            for places in self._places.values()
            if places[0] not in self._answers
        ]
        try:
            questions = [q for q in open_questions if q is not None]
            for question, row in answers(questions, self._catalog, hire):
                self._enter(question.digest, row)
                yield len(self._places[question.digest])
                if time.monotonic() - saved > SAVE_S:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()

    def _enter(self, digest: str, row: Row) -> None:
        for number in self._places[digest]:
            self._answers[number] = row

    @property
    def answered(self) -> int:
        """Rows that are there."""
        return len(self._answers)

    def rows(self) -> list[Row]:
        """The rows that are there, with the varied fields under their paths."""
        return [self._row(number) for number in sorted(self._answers)]

    def _row(self, number: int) -> Row:
        one = self._asked[number]
        return {
            **{path: cell(value) for path, value in one.point.values.items()},
            **self._answers[number],
            "digest": None if one.question is None else one.question.digest,
            "cluster": one.point.cluster,
        }

    def save(self) -> None:
        """Write the file, whole or not at all."""
        rows = self.rows()
        paths = list(self._asked[0].point.values)
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            pq.write_table(_table(rows, paths), part)
            part.replace(self.path)
        except OSError as error:
            raise SpecError(f"cannot write {self.path}: {error.strerror}") from None


def _table(rows: Sequence[Row], paths: Sequence[str]) -> Any:
    fields: list[Any] = []
    cells: list[list[Any]] = []
    for path in paths:
        values = [row[path] for row in rows]
        numbers = all(value is None or isinstance(value, float) for value in values)
        kind = "double" if numbers else "string"
        fields.append(_field(path, kind, "", "varied field of the plan"))
        cells.append(values if numbers else [None if v is None else str(v) for v in values])
    for column in COLUMNS:
        fields.append(_field(column.name, column.kind, column.unit, column.meaning))
        cells.append([row.get(column.name) for row in rows])
    arrays = [pa.array(c, type=field.type) for c, field in zip(cells, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _field(name: str, kind: str, unit: str, meaning: str) -> Any:
    return pa.field(name, TYPES[kind], metadata={"unit": unit, "meaning": meaning})


def _kept(path: Path) -> Mapping[str, Row]:
    """The answers of an earlier run, by digest; those that failed are to be asked again."""
    if not path.exists():
        return {}
    names = [column.name for column in COLUMNS]
    table: Any = None
    try:
        table = pq.read_table(path, columns=names)
        complete = set(table.column_names) == set(names)
    except (pa.ArrowException, OSError):
        complete = False
    if not complete:
        raise SpecError(
            f"{path} exists and holds no results of this version of guide sweep: "
            "remove it, or name another file"
        )
    return {
        row["digest"]: {k: v for k, v in row.items() if k not in _POINT}
        for row in table.to_pylist()
        if row["digest"] is not None and row["outcome"] != Outcome.FAILED
    }
