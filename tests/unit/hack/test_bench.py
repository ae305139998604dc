"""The benchmark suite runs and its document has every part; no time is asserted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hack.bench.__main__ import FILE
from hack.bench.measure import ROOT, timed

SECTIONS = (
    *("Targets", "Whole processes", "AIConfigurator", "GenZ", "Growth with the cluster"),
    *("Candidates screened", "Predictions", "Simulated requests", "Traces", "Sweeps", "Operator"),
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
