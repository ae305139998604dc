"""Open-loop load on a Service: `python -m tests.e2e_node.load URL PER_S SECONDS` prints a count.

Each request has a connection of its own, so that a Service chooses a pod for each, and none is
sent twice: what a client would have to repeat counts as failed.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hack.node.node import Node

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


@dataclass
class Outcome:
    """How the requests of a load ended: `ok` or the name of the failure, and how many."""

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Requests without an answer of status 200."""
        return self.total - self.counts.get("ok", 0)


@contextmanager
def load(node: Node, url: str, per_s: float, seconds: float) -> Generator[Outcome]:
    """Load while the block runs, and until the load is over; then the outcome is filled."""
    words = (sys.executable, "-m", "tests.e2e_node.load", url, str(per_s), str(seconds))
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


async def _ask(session: aiohttp.ClientSession, url: str, counts: Counter[str]) -> None:
    body: dict[str, Any] = {"model": MODEL, "prompt": "x" * 400, "max_tokens": 60}
    try:
        async with session.post(f"{url}/v1/completions", json=body) as response:
            await response.read()
            counts["ok" if response.status == 200 else str(response.status)] += 1
    except (aiohttp.ClientError, TimeoutError) as problem:
        counts[type(problem).__name__] += 1


async def _run(url: str, per_s: float, seconds: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    connections = aiohttp.TCPConnector(limit=0, force_close=True)
    limit = aiohttp.ClientTimeout(LIMIT_S)
    async with aiohttp.ClientSession(connector=connections, timeout=limit) as session:
        began = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for index in range(int(per_s * seconds)):
                await asyncio.sleep(max(0.0, began + index / per_s - time.monotonic()))
                requests.create_task(_ask(session, url, counts))
    return counts


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))))
