"""The benchmark suite runs and its document has every part; no time is asserted."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hack.bench.__main__ import FILE
from hack.bench.history import HEADS, append
from hack.bench.measure import ROOT, Section, Timed, timed

SECTIONS = (
    *("Targets", "Whole processes", "AIConfigurator", "GenZ", "Growth with the cluster"),
    *(
        "What-ifs",
        "Questions without an answer",
        "Candidates screened",
        "Predictions",
        "Simulated requests",
        "Traces",
        "Sweeps",
    ),
    "Operator",
)


def heads(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^## (.+)$", text, re.MULTILINE))


def test_the_quick_run_writes_every_section(tmp_path: Path):
    out = tmp_path / "benchmarks.md"
    words = ["--quick", "--out", str(out), "--peer", str(tmp_path / "none")]
    subprocess.run([sys.executable, "-m", "hack.bench", *words], cwd=ROOT, check=True)
    text = out.read_text(encoding="utf-8")
    assert heads(text) == SECTIONS
    assert text.count("Not installed here") == 2, "peers that are absent are said to be"
    for row in ("`guide --help`", "open loop", "closed loop", "static batch", "| 2 |", "| 100 |"):
        assert row in text, row
    assert "nan" not in text
    assert re.search(r"Machine: .+ cores, .+ GiB", text)
    (row,) = past(tmp_path / "benchmarks-history.csv")
    assert (row["ratio"], row["turns"]) == ("guide plan over its libraries", "1")
    told = re.search(r"takes ([0-9.]+) x \(", text)
    assert told is not None
    assert float(told.group(1)) == pytest.approx(float(row["median"]), abs=0.056)  # both rounded
    assert "cores" in row["machine"]


def past(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_ratio_is_taken_within_each_turn():
    section = Section("Speed", [], [])
    ours, theirs = [Timed(1, 1, 1), Timed(2, 1, 1)], [Timed(20, 1, 1), Timed(50, 1, 1)]
    assert section.ratio("theirs over ours", theirs, ours) == 22.5
    assert section.spread("theirs over ours") == "22.5 x (20.0 to 25.0)"


def test_the_history_grows_by_a_line_for_each_ratio(tmp_path: Path):
    section = Section("Speed", [], [], {"theirs over ours": [25.0, 20.0, 21.0]})
    for commit in ("aaaaaaa", "bbbbbbb"):
        append(tmp_path / "past.csv", [section], commit=commit, machine="One, 2 cores")
    first, second = past(tmp_path / "past.csv")
    assert (first["commit"], second["commit"]) == ("aaaaaaa", "bbbbbbb")
    assert [second[key] for key in HEADS[-4:]] == ["3", "21.00", "20.00", "25.00"]
    assert set(past(FILE.with_name("benchmarks-history.csv"))[0]) == set(HEADS)


def test_the_committed_document_is_a_full_run():
    text = FILE.read_text(encoding="utf-8")
    assert heads(text)[: len(SECTIONS)] == SECTIONS
    assert "--quick" not in text
    assert "| 1,000,000 |" in text


def test_memory_of_a_child_is_its_own():
    ballast = bytearray(200 * 2**20)
    assert timed([sys.executable, "-c", "pass"]).peak_bytes < len(ballast) / 4
    big = timed([sys.executable, "-c", "b = b'x' * (100 * 2**20)"])
    assert 100 * 2**20 < big.peak_bytes < 150 * 2**20
