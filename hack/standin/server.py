"""The stand-in's API: completions in the time of a given latency model, streamed as vLLM does.

A request waits while `max_num_seqs` others run, takes a first token after a time that grows with
its prompt, and then a token at a time, the slower the fuller the batch. SIGTERM closes the port and
lets running requests end.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from hack.standin.metrics import CONTENT_TYPE, Served, ServerMetrics

BYTES_PER_TOKEN = 4  # of English text, about
DEFAULT_TOKENS = 16  # of the OpenAI API
MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a server takes: `ttft_s` and `tpot_s` when it is idle, and what is added."""

    ttft_s: float = 0.05
    tpot_s: float = 0.009
    prefill_s_per_token: float = 0.0
    tpot_s_per_running: float = 0.0
    start_s: float = 0.0  # until it is healthy: weights, compilation, graphs


class Refused(Exception):
    """A request that gets no answer: the HTTP status and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(slots=True, kw_only=True)
class StandIn:
    """One server: what it serves, how fast, and what goes wrong in it."""

    model: str
    max_num_seqs: int
    max_model_len: int
    latency: Latency
    metrics: ServerMetrics
    error_share: float = 0.0
    never_healthy: bool = False
    began_s: float = field(default_factory=time.monotonic)
    _running: int = 0
    _waiting: int = 0
    _kv_tokens: int = 0
    _places: asyncio.Semaphore = field(init=False)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.max_num_seqs)
        self._dice = random.Random(0)

    def app(self) -> web.Application:
        """The HTTP application; to be run on one event loop."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._completions),
            ]
        )
        return app

    def metrics_app(self) -> web.Application:
        """What a batch runner answers: metrics alone."""
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics)])
        return app

    async def complete(self, body: dict[str, object], *, chat: bool) -> dict[str, object]:
        """The whole answer to one request, once it is due. Raises `Refused`."""
        prompt, output = self._accepted(body)
        async for _ in self._tokens(prompt, output):
            pass
        return _Reply(self.model, chat=chat).whole(prompt, output)

    def _accepted(self, body: dict[str, object]) -> tuple[int, int]:
        """Tokens of the prompt and of the output."""
        try:
            prompt, output = _lengths(body)
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused(400, f"the request is not one: {error}") from error
        if body.get("model", self.model) != self.model:
            raise Refused(404, f"the model {body['model']} does not exist")
        if prompt + output > self.max_model_len:
            raise Refused(400, f"{prompt} + {output} tokens exceed {self.max_model_len}")
        if self._dice.random() < self.error_share:
            self.metrics.fail()
            raise Refused(500, "the engine failed, as it was told to")
        return prompt, output

    async def _health(self, _: web.Request) -> web.Response:
        loaded = time.monotonic() - self.began_s >= self.latency.start_s
        return web.Response(status=200 if loaded and not self.never_healthy else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _models(self, _: web.Request) -> web.Response:
        one = {"id": self.model, "object": "model", "max_model_len": self.max_model_len}
        return web.json_response({"object": "list", "data": [one]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        chat = request.path.endswith("/chat/completions")
        try:
            body = await request.json()
            if not body.get("stream"):
                return web.json_response(await self.complete(body, chat=chat))
            prompt, output = self._accepted(body)
        except Refused as error:
            return _refused(error.status, error.message)
        except (ValueError, AttributeError) as error:
            return _refused(400, f"the request is not one: {error}")
        reply, tokens = _Reply(self.model, chat=chat), self._tokens(prompt, output)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for _ in tokens:
            await response.write(_event(reply.part()))
        await response.write(_event(reply.usage(prompt, output)))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _tokens(self, prompt: int, output: int) -> AsyncIterator[int]:
        """The tokens of one request, each when it is due."""
        arrived = time.monotonic()
        self._change(waiting=1)
        try:
            await self._places.acquire()
        finally:
            self._change(waiting=-1)
        started = time.monotonic()
        self._change(running=1, kv_tokens=prompt + output)
        try:
            due = started + self.latency.ttft_s + prompt * self.latency.prefill_s_per_token
            for index in range(output):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if index == 0:
                    first = time.monotonic()
                yield index
                busy = (self._running - 1) * self.latency.tpot_s_per_running
                due += self.latency.tpot_s + busy
            ended = time.monotonic()
            between = (ended - first) / max(1, output - 1)
            served = (ended, started, prompt, output, first - arrived, between, ended - arrived)
            self.metrics.record(Served(*served, started - arrived), "length")
        finally:
            self._change(running=-1, kv_tokens=-(prompt + output))
            self._places.release()

    def _change(self, *, running: int = 0, waiting: int = 0, kv_tokens: int = 0) -> None:
        self._running += running
        self._waiting += waiting
        self._kv_tokens += kv_tokens
        share = self._kv_tokens / (self.max_num_seqs * self.max_model_len)
        self.metrics.show(running=self._running, waiting=self._waiting, kv_share=share)


class _Reply:
    """The objects of the OpenAI API for one request."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        kind = "chat.completion" if chat else "text_completion"
        self._head = {"id": "standin", "model": model, "created": 0, "object": kind}

    def part(self) -> dict[str, object]:
        text = {"delta": {"content": " a"}} if self._chat else {"text": " a"}
        return {**self._head, "choices": [{"index": 0, **text, "finish_reason": None}]}

    def whole(self, prompt: int, output: int) -> dict[str, object]:
        text = " a" * output
        said = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choice = {"index": 0, **said, "finish_reason": "length"}
        return {**self.usage(prompt, output), "choices": [choice]}

    def usage(self, prompt: int, output: int) -> dict[str, object]:
        counts = {"prompt_tokens": prompt, "completion_tokens": output}
        return {
            **self._head,
            "choices": [],
            "usage": {**counts, "total_tokens": prompt + output},
        }


def _lengths(body: dict[str, object]) -> tuple[int, int]:
    """Tokens of the prompt and of the output that a body asks for."""
    prompt = body.get("messages", body.get("prompt"))
    if not prompt:
        raise ValueError("it has neither prompt nor messages")
    numbers = isinstance(prompt, list) and isinstance(prompt[0], int)
    text = json.dumps(prompt) if isinstance(prompt, list) else str(prompt)
    count = len(prompt) if numbers else max(1, len(text) // BYTES_PER_TOKEN)
    asked = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS
    if not isinstance(asked, int) or asked < 1:
        raise ValueError(f"max_tokens is {asked!r}")
    return count, asked


def _event(value: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)
