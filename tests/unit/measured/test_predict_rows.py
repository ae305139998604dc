"""Predictions beside the rows of a CSV file: answers, refusals, and the file itself."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from guide.catalog import load
from guide.domain import Reason
from guide.errors import SpecError
from guide.measured.answers import OUTPUTS, predict_csv
from guide.measured.case import Unanswerable, build
from guide.measured.measurements import measurements, parse
from tests.measured import row, write

CATALOG = load()
DATA = Path(__file__).parents[2] / "accuracy" / "data" / "measurements.csv"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"gpu": "Abacus"}, Reason.UNKNOWN_GPU),
        ({"model": "nobody/nothing"}, Reason.UNSUPPORTED_MODEL),
        ({"precision": "fp3"}, Reason.UNSUPPORTED_PRECISION),
        ({"tp": 3}, Reason.HEADS_NOT_DIVISIBLE),
    ],
)
def test_a_row_without_an_answer_has_a_reason(changed: dict[str, object], reason: Reason):
    refused = build(parse(row(**changed), "here"), CATALOG)
    assert isinstance(refused, Unanswerable)
    assert refused.reason is reason
    assert str(next(iter(changed.values()))) in refused.detail


def test_predictions_keep_the_file_and_mark_refusals(tmp_path: Path):
    rows = [
        {**row(id="one", kind="static_batch", batch_or_concurrency=4), "extra": "kept, as it is"},
        {**row(id="two", gpu="Abacus"), "extra": ""},
        {**row(id="three", kind="rate", batch_or_concurrency=2), "extra": "ü"},
    ]
    source, target = write(tmp_path / "in.csv", rows), tmp_path / "out.csv"
    seen: list[tuple[int, int]] = []
    answered = predict_csv(source, target, CATALOG, lambda done, total: seen.append((done, total)))
    assert answered == (2, 1)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with target.open(encoding="utf-8", newline="") as file:
        out = list(csv.DictReader(file))
    assert [{name: r[name] for name in rows[0]} for r in out] == rows
    names = [name for name, _ in OUTPUTS.values()]
    for answer in (out[0], out[2]):
        assert answer["refused"] == ""
        assert answer["provenance"] in ("Calibrated", "Extrapolated")
        for name in names:
            low, value, high = (float(answer[name + end]) for end in ("_lo", "", "_hi"))
            assert 0 < low < value < high
    assert out[1]["refused"] == "UnknownGPU"
    assert all(out[1][name + end] == "" for name in names for end in ("", "_lo", "_hi"))
    assert out[1]["provenance"] == ""


def test_predicting_twice_gives_the_same_bytes_and_columns(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row(batch_or_concurrency=2)])
    predict_csv(source, tmp_path / "one.csv", CATALOG)
    predict_csv(source, tmp_path / "two.csv", CATALOG)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    predict_csv(tmp_path / "one.csv", tmp_path / "again.csv", CATALOG)  # its own output as input
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_an_unwritable_target_fails_before_the_work(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row()])
    with pytest.raises(SpecError, match=r"absent.out\.csv: cannot be written"):
        predict_csv(
            source, tmp_path / "absent" / "out.csv", CATALOG, lambda *_: pytest.fail("worked")
        )


def test_a_bad_row_leaves_no_half_written_predictions(tmp_path: Path):
    source = write(tmp_path / "in.csv", [row(kind="static_batch"), row(isl="x")])
    with pytest.raises(SpecError, match="line 3, column 'isl'"):
        predict_csv(source, tmp_path / "out.csv", CATALOG)
    assert not (tmp_path / "out.csv").exists()


def test_published_rows_are_answered():
    """At most 2 % of the shipped rows may be refused; today none is."""
    rows = list(measurements(DATA))[::7]
    refused = [m for m in rows if isinstance(build(m, CATALOG), Unanswerable)]
    assert len(refused) <= 0.02 * len(rows)
