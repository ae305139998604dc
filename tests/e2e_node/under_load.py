"""Load on a Service of the node while something happens to its pods."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hack.node.node import Node
from hack.standin.load import OK

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30


@dataclass
class Outcome:
    """How the requests of a load ended: OK or the name of the failure, and how many."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Requests without an answer of status 200."""
        return self.total - self.counts.get(OK, 0)


@contextmanager
def load(node: Node, url: str, per_s: float, seconds: float) -> Generator[Outcome]:
    """Load while the block runs, and until the load is over; then the outcome is filled."""
    how = (f"--per-second={per_s}", f"--seconds={seconds}", f"--limit-s={LIMIT_S}")
    words = (sys.executable, "-m", "hack.standin.load", url, *how)
    command = node.command(*words, network_alone=True)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    outcome = Outcome()
    try:
        time.sleep(2)
        yield outcome
        printed, _ = process.communicate(timeout=seconds + LIMIT_S + 10)
        outcome.counts = json.loads(printed)
    finally:
        process.kill()
        process.wait()
