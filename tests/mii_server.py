"""A stand-in for MII's OpenAI server: its endpoints, and its answers to the byte, without a model.

    python -m tests.mii_server PORT

What it does is asked for in the query: `first` and `gap` are seconds, `tokens` how many; `hold`
waits after the first token for a POST to /release, `fault` is a status, or `break` in mid-answer.
Source: mii/entrypoints/openai_api_server.py of DeepSpeed-MII 0.3.3.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
app = FastAPI()
app.state.released = asyncio.Event()
app.state.left = 0  # clients that went before their answer was whole


@app.get("/health")
async def health() -> Response:
    return JSONResponse({"status": "ok"})


@app.get("/left")
async def left() -> int:
    return app.state.left


@app.post("/release")
async def release() -> None:
    app.state.released.set()
    app.state.released = asyncio.Event()


@app.post("/echo")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    return await answer(request, chat=True)


@app.post("/v1/completions")
async def completions(request: Request) -> Response:
    return await answer(request, chat=False)


async def answer(request: Request, *, chat: bool) -> Response:
    body, query = await request.json(), request.query_params
    if query.get("fault", "").isdigit():
        return JSONResponse({"object": "error"}, status_code=int(query["fault"]))
    if body["model"] != MODEL:
        return JSONResponse({"object": "error", "code": 40301}, status_code=400)
    if body.get("stream"):
        return StreamingResponse(events(query, chat), media_type="text/event-stream")
    await asyncio.sleep(float(query.get("first", 0)))
    prompts = body.get("prompt", "")
    count = len(prompts) if isinstance(prompts, list) else 1
    text = {"message": {"role": "assistant", "content": "so"}} if chat else {"text": "so"}
    choices = [{"index": index, **text, "finish_reason": "length"} for index in range(count)]
    usage = {"prompt_tokens": 1, "completion_tokens": int(query.get("tokens", 5)) * count}
    return JSONResponse({"id": "cmpl-1", "model": MODEL, "choices": choices, "usage": usage})


async def events(query: Any, chat: bool) -> AsyncIterator[str]:
    def event(what: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, **what, "finish_reason": finish}
        document = {"id": "cmpl-1", "model": MODEL, "choices": [choice]}
        return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"

    def token(text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if chat else {"text": text}

    gap_s = float(query.get("gap", 0))
    try:
        yield event({"delta": {"role": "assistant"}}) if chat else ""
        await asyncio.sleep(float(query.get("first", 0)))
        for index in range(int(query.get("tokens", 5))):
            if index:
                await asyncio.sleep(gap_s)
            yield event(token(f" {index}"))
            if index == 0 and "hold" in query:
                await app.state.released.wait()
            if index == 1 and query.get("fault") == "break":
                raise RuntimeError("as asked")
        yield event(token(""), "stop")
        yield "data: [DONE]\n\n"
    except asyncio.CancelledError:
        app.state.left += 1
        raise


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), date_header=False, log_level="critical"
    )
