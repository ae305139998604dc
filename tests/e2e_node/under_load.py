"""Load on a Service while something happens to its pods."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hack.standin.load import OK
from tests.e2e_node.client import Client

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
def load(client: Client, url: str, per_s: float, seconds: float) -> Generator[Outcome]:
    """Load while the block runs, and until the load is over; then the outcome is filled."""
    how = (f"--per-second={per_s}", f"--seconds={seconds}", f"--limit-s={LIMIT_S}")
    kubectl = client.kubectl
    words = client.words("-m", "hack.standin.load", url, *how)
    command = [kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    outcome = Outcome()
    try:
        time.sleep(2)
        yield outcome
        printed, _ = process.communicate(timeout=seconds + LIMIT_S + 10)
        outcome.counts = json.loads(printed)
    finally:
        process.kill()
        process.wait()
