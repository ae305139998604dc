"""The errors of the shipped fits on the open measurements, which may only shrink."""

from __future__ import annotations

from pathlib import Path

from guide.catalog import load
from guide.measured.dataset import is_open
from guide.measured.measurements import measurements
from guide.measured.slices import SLICES
from hack.accuracy import ratchet

HERE = Path(__file__).parent
ROWS = [row for path in sorted((HERE / "data").glob("*.csv")) for row in measurements(path)]


def test_every_row_may_be_redistributed():
    assert len(ROWS) > 2000
    assert [row.id for row in ROWS if not is_open(row)] == []


def test_no_error_grows():
    now = ratchet.numbers(ratchet.by_slice(ratchet.shipped(ROWS, load()), "shipped"))
    committed = ratchet.read(HERE / "ratchet.yaml")
    assert set(committed) == {part.name for part in SLICES}
    assert ratchet.grown(committed, now) == []
