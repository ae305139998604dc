"""Malformed files of measurements: one sentence with line, column and mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guide.errors import SpecError
from guide.measured.measurements import measurements, read_rows
from tests.measured import ROW, row, write


def error_of(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        list(measurements(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("column", ["framework", "model", "gpu", "tp", "kind", "isl", "osl"])
def test_a_missing_column_is_named(tmp_path: Path, column: str):
    bare = {name: value for name, value in ROW.items() if name != column}
    message = error_of(write(tmp_path / "m.csv", [bare]))
    assert f"line 1: column '{column}' is missing" in message


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("isl", "many", "'many' is no number"),
        ("isl", "", "above zero"),
        ("isl", "-5", "above zero"),
        ("osl", "0", "above zero"),
        ("osl", "nan", "no finite number"),
        ("batch_or_concurrency", "inf", "no finite number"),
        ("batch_or_concurrency", "1e12", "more than 100,000"),
        ("osl", "1e9", "more than 10,000,000"),
        ("tp", "0", "above zero"),
        ("tp", "1.5", "no whole number"),
        ("ttft_ms", "-1", "never below zero"),
        ("tpot_ms", "fast", "'fast' is no number"),
        ("e2e_s", "-0.5", "never below zero"),
        ("kind", "soak", "'soak' is none of static_batch, burst, concurrency, rate"),
        ("framework", "tgi", "'tgi' is none of vllm, sglang, fastgen"),
    ],
)
def test_a_bad_value_names_line_and_column(tmp_path: Path, column: str, value: str, what: str):
    good, bad = row(**{column: ROW.get(column, "")}), row(**{column: value})
    message = error_of(write(tmp_path / "m.csv", [good, good, bad, good]))
    assert f"m.csv line 4, column '{column}'" in message
    assert what in message


def test_lines_are_those_of_the_file(tmp_path: Path):
    """Blank lines and quoted line breaks do not shift the count."""
    path = write(tmp_path / "m.csv", [row(note="two\nlines"), row(isl="x")])
    assert "line 4, column 'isl'" in error_of(path)
    header, first, *_ = write(path, [row(), row()]).read_text().splitlines()
    path.write_text("\n".join([header, "", first, "", first.replace("500", "x")]))
    assert "line 5, column 'isl'" in error_of(path)


def test_another_number_of_columns_is_named(tmp_path: Path):
    path = write(tmp_path / "m.csv", [row(), row()])
    lines = path.read_text().splitlines()
    for broken in (lines[2] + ",more", lines[2].rsplit(",", 1)[0]):
        path.write_text("\n".join([*lines[:2], broken]))
        message = error_of(path)
        assert f"line 3: has another number of columns than the header ({len(ROW)})" in message


def test_a_file_that_is_no_csv_is_one_sentence(tmp_path: Path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"framework,\xff\xfe\x00")
    assert "is not UTF-8 text" in error_of(path)
    path.write_text("")
    assert "column 'framework' is missing" in error_of(path)
    path.write_bytes(bytes(range(1, 127)))
    assert "line 1" in error_of(path)
    good = write(path, [row()]).read_text()
    path.write_text(good + '"never closed')
    assert "is no valid CSV" in error_of(path)
    assert "cannot be read" in error_of(tmp_path / "absent.csv")
    assert "cannot be read" in error_of(tmp_path)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_is_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, garbage: bytes):
    path = tmp_path_factory.getbasetemp() / "garbage.csv"
    path.write_bytes(garbage)
    with pytest.raises(SpecError, match=r"garbage\.csv"):
        list(measurements(path))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path):
    text = write(tmp_path / "m.csv", [row()]).read_text()
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_rows(tmp_path / "m.csv")[0] == list(ROW)
