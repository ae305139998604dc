"""The committed errors of the shipped fits, which may only shrink."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import yaml

from guide.domain import Catalog
from guide.errors import SpecError
from guide.measured.case import Unanswerable, build
from guide.measured.dataset import exclusions
from guide.measured.evaluate import total_seconds
from guide.measured.measurements import Measurement
from guide.measured.predict import predict_case
from guide.measured.record import METRICS
from guide.measured.slices import SLICES, Errors, LeftOut, errors_of

TOLERANCE = 0.02  # by which an error may grow, relative
HEADER = """\
# Errors of the shipped fits on the open rows of tests/accuracy/data, in %; written by
# `make accuracy` when they shrink, and by `make accuracy ACCEPT=--accept` otherwise.
"""
Numbers = dict[str, dict[str, float]]


def shipped(rows: Iterable[Measurement], catalog: Catalog) -> list[LeftOut]:
    """Every measured value of `rows` with its error under the fits of `catalog`.

    It is the path of `guide predict`: each row replayed by itself.
    """
    found: list[LeftOut] = []
    why = exclusions()
    for row in rows:
        case = build(row, catalog)
        if isinstance(case, Unanswerable):
            continue
        measured = dict(zip(METRICS, (row.ttft_s, row.tpot_s, total_seconds(case)), strict=True))
        predicted = predict_case(case, catalog).values
        found += [
            LeftOut(
                case=case,
                metric=metric,
                measured=value,
                errors={"shipped": _log_error(predicted[metric], value)},
                pools={},
                exclusion=why.get((row.id, "")) or why.get((row.id, metric), ""),
            )
            for metric, value in measured.items()
            if value is not None and value > 0
        ]
    return found


def _log_error(predicted: float, measured: float) -> float:
    return math.log(predicted / measured)


def by_slice(items: Iterable[LeftOut], errors: str) -> dict[str, Errors]:
    """Errors of every slice that has rows."""
    chosen = list(items)
    found = {
        part.name: errors_of(item.errors[errors] for item in chosen if part.holds(item))
        for part in SLICES
    }
    return {name: value for name, value in found.items() if value.count}


def numbers(errors: Mapping[str, Errors]) -> Numbers:
    """What is committed of the errors."""
    return {
        name: {"rows": e.count, "mean": round(e.mean, 2), "median": round(e.median, 2)}
        for name, e in errors.items()
    }


def grown(committed: Numbers, now: Numbers) -> list[str]:
    """A sentence for every error that grew beyond the tolerance, and every slice that vanished."""
    said: list[str] = []
    for name, before in committed.items():
        if name not in now:
            said.append(f"{name}: has no rows any more")
            continue
        for statistic in ("mean", "median"):
            was, is_ = before[statistic], now[name][statistic]
            if is_ > was * (1 + TOLERANCE):
                said.append(f"{name}: {statistic} error grew from {was} % to {is_} %")
    return said


def tightened(committed: Numbers, now: Numbers) -> Numbers:
    """The smaller of each error: what the next change is held to."""
    return {
        name: {
            "rows": values["rows"],
            **{
                statistic: min(values[statistic], committed.get(name, values)[statistic])
                for statistic in ("mean", "median")
            },
        }
        for name, values in now.items()
    }


def read(path: Path) -> Numbers:
    """The committed errors; none where there is no file yet."""
    if not path.exists():
        return {}
    document: object = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    if not isinstance(document, dict):
        raise SpecError(f"{path} is no ratchet: it must map slices to errors")
    return cast("Numbers", document)


def write(path: Path, values: Numbers) -> None:
    """Write the committed errors."""
    text = yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False, width=1000)
    path.write_text(HEADER + text, encoding="utf-8")
