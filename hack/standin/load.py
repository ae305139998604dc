"""Open-loop load on a server, one connection a request; prints how the requests ended, as JSON.

    python -m hack.standin.load URL --per-second 20 --seconds 55

A Service chooses a pod for each connection, and none is used twice; no request is sent twice
either: what a client would have to repeat counts as failed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Annotated

import aiohttp
import typer

OK = "ok"


async def _ask(
    session: aiohttp.ClientSession, url: str, body: dict[str, object], ends: Counter[str]
) -> None:
    try:
        async with session.post(f"{url}/v1/completions", json=body) as response:
            await response.read()
            ends[OK if response.status == 200 else str(response.status)] += 1
    except (aiohttp.ClientError, TimeoutError) as problem:
        ends[type(problem).__name__] += 1


async def load(
    url: str, per_second: float, seconds: float, body: dict[str, object], limit_s: float
) -> Counter[str]:
    """Send the load and wait for its end; requests by how they ended: OK or a failure."""
    ends: Counter[str] = Counter()
    connections = aiohttp.TCPConnector(limit=0, force_close=True)
    limit = aiohttp.ClientTimeout(limit_s)
    async with aiohttp.ClientSession(connector=connections, timeout=limit) as session:
        began = time.monotonic()
        async with asyncio.TaskGroup() as requests:
            for index in range(int(per_second * seconds)):
                await asyncio.sleep(max(0.0, began + index / per_second - time.monotonic()))
                requests.create_task(_ask(session, url, body, ends))
    return ends


def main(
    url: Annotated[str, typer.Argument(help="of the server, without /v1")],
    model: str = "meta-llama/Llama-3.1-8B-Instruct",
    per_second: Annotated[float, typer.Option(min=0.001)] = 20,
    seconds: Annotated[float, typer.Option(min=0)] = 55,
    input_bytes: Annotated[int, typer.Option(min=1)] = 400,
    max_tokens: Annotated[int, typer.Option(min=1)] = 60,
    limit_s: Annotated[float, typer.Option(min=0.1, help="longest wait for an answer")] = 30,
) -> None:
    """Send completions at a constant rate."""
    body = {"model": model, "prompt": "x" * input_bytes, "max_tokens": max_tokens}
    print(json.dumps(asyncio.run(load(url, per_second, seconds, body, limit_s))))


if __name__ == "__main__":
    typer.run(main)
