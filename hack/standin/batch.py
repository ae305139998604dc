"""`vllm run-batch` without a GPU: a file of requests becomes a file of answers, in its order."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from hack.standin.server import Refused, StandIn

_CHAT, _COMPLETION = "/v1/chat/completions", "/v1/completions"


async def work_through(
    server: StandIn, requests: Path, answers: Path, metrics_port: int | None
) -> None:
    """Answer all of `requests`, as many at a time as the server holds; then write `answers`.

    Raises `ValueError` for a line that is no request, which ends the real one too. What is refused
    is an answer with an error.
    """
    lines = [json.loads(line) for line in requests.read_text("utf-8").splitlines() if line.strip()]
    if not all(
        isinstance(one, dict) and {"custom_id", "url", "body"} <= one.keys() for one in lines
    ):
        raise ValueError("a line has no custom_id, url or body")
    runner = web.AppRunner(server.metrics_app())
    await runner.setup()
    if metrics_port is not None:
        await web.TCPSite(runner, "0.0.0.0", metrics_port).start()
    try:
        await asyncio.sleep(server.latency.start_s)
        found = await asyncio.gather(*(_answer(server, one) for one in lines))
    finally:
        await runner.cleanup()
    answers.write_text("".join(f"{json.dumps(one)}\n" for one in found), "utf-8")


async def _answer(server: StandIn, asked: dict[str, Any]) -> dict[str, Any]:
    head = {"id": f"standin-{asked['custom_id']}", "custom_id": asked["custom_id"]}
    try:
        if asked["url"] not in (_CHAT, _COMPLETION):
            raise Refused(400, f"URL {asked['url']} was used")
        body = await server.complete(asked["body"], chat=asked["url"] == _CHAT)
    except Refused as error:
        failed = {"status_code": error.status, "request_id": head["id"], "body": None}
        return {**head, "response": failed, "error": error.message}
    told = {"status_code": 200, "request_id": head["id"], "body": body}
    return {**head, "response": told, "error": None}
