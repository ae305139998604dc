"""What passes through the proxy in front of DeepSpeed-FastGen, measured under vLLM's names.

It lies beside `fastgen_proxy` in the image of FastGen, from a ConfigMap: it imports nothing of
GUIDE and holds to Python 3.10.
"""

from __future__ import annotations

import importlib
import json
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httptools
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PATHS = (b"/v1/completions", b"/v1/chat/completions")
KEPT_BYTES = 4 << 20  # of a body; a longer one passes, but nothing is read in it
Parser = httptools.HttpRequestParser | httptools.HttpResponseParser
EVENT = b"data: {"  # the last is "data: [DONE]"
REASONS = ("stop", "length", "abort", "error")
TOKENS = tuple(m * 10**k for k in range(6) for m in (1, 2, 5))


class Metrics:
    """Metrics of one model; `most` sequences fit into a batch, `buckets` are named as by vLLM."""

    def __init__(self, model: str, most: int, buckets: dict[str, Sequence[float]]) -> None:
        self.registry = CollectorRegistry()
        self._most = most
        self._in_flight = 0
        named, registry = ["model_name", "engine"], self.registry

        def made(kind: Any, name: str, **options: Any) -> Any:
            metric = kind(f"vllm:{name}", "As in vLLM.", named, registry=registry, **options)
            return metric.labels(model, "0")

        gaps, whole = buckets["inter_token_latency"], buckets["request_latency"]
        firsts = buckets["time_to_first_token"]
        self.ttft = made(Histogram, "time_to_first_token_seconds", buckets=firsts)
        self.gap = made(Histogram, "inter_token_latency_seconds", buckets=gaps)
        self.tpot = made(Histogram, "request_time_per_output_token_seconds", buckets=gaps)
        self.e2e = made(Histogram, "e2e_request_latency_seconds", buckets=whole)
        self.prompt = made(Histogram, "request_prompt_tokens", buckets=TOKENS)
        self.output = made(Histogram, "request_generation_tokens", buckets=TOKENS)
        self.prompts = made(Counter, "prompt_tokens")
        self.outputs = made(Counter, "generation_tokens")
        self._running = made(Gauge, "num_requests_running")
        self._waiting = made(Gauge, "num_requests_waiting")
        reasons = [*named, "finished_reason"]
        ended = Counter("vllm:request_success", "As in vLLM.", reasons, registry=registry)
        self.ended = {why: ended.labels(model, "0", why) for why in REASONS}

    def enter(self, requests: int) -> None:
        """So many more requests, or fewer, are in flight."""
        self._in_flight += requests
        self._running.set(min(self._in_flight, self._most))
        self._waiting.set(max(self._in_flight - self._most, 0))


class Prompts:
    """Counts the tokens of prompts by the tokenizer that the server has put into the cache."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._tokenizer: Any = None

    def count(self, question: dict[str, Any]) -> int:
        """Tokens of the only prompt of a request, as MII makes them of it."""
        if self._tokenizer is None:  # only the image of FastGen has this package
            made = importlib.import_module("transformers").AutoTokenizer
            self._tokenizer = made.from_pretrained(self._model)
        text = question.get("prompt")
        if text is None:
            text = self._tokenizer.apply_chat_template(
                question["messages"],
                tokenize=False,
                add_generation_prompt=question.get("add_generation_prompt", True),
            )
        return len(self._tokenizer.encode(text if isinstance(text, str) else text[0]))


@dataclass
class Call:
    """A request to the model, from its last byte on."""

    began_s: float
    body: bytes | None  # None: too long to keep
    tokens: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    finish: str | None = None


class Watch:
    """Reads copies of the two directions of one connection; a failure ends the reading, no more."""

    def __init__(self, metrics: Metrics, count: Callable[[bytes], object]) -> None:
        self._metrics = metrics
        self._count = count
        self._calls: deque[Call | None] = deque()  # None: of no interest
        self._now_s = 0.0
        self._deaf = False
        self.moved_s = time.perf_counter()  # when bytes last went either way
        self.asked = httptools.HttpRequestParser(_Asked(self))
        self.answered = httptools.HttpResponseParser(_Answered(self))

    def read(self, parser: Parser, piece: bytes, now_s: float) -> None:
        """Take the next bytes of one direction, that came at `now_s`."""
        self.moved_s = now_s
        if self._deaf:
            return
        self._now_s = now_s
        try:
            parser.feed_data(piece)
        except Exception as error:  # whatever is wrong with a copy: the original has been sent on
            warnings.warn(f"a connection is not measured: {error!r}", stacklevel=1)
            self._deaf = True
            self.end(None)

    @property
    def waits(self) -> bool:
        """Whether an answer is awaited, as far as it is known."""
        return self._deaf or bool(self._calls)

    def end(self, reason: str | None) -> None:
        """Nothing more comes: what was under way ended by `reason`, or unseen."""
        calls = [call for call in self._calls if call is not None]
        self._calls.clear()
        self._metrics.enter(-len(calls))
        for call in calls:
            if call.finish:  # to HTTP/1.0, the end of the connection is that of the answer
                self._streamed(call)
            elif reason:
                self._metrics.ended[reason].inc()

    def request(self, message: _Message) -> None:
        """A whole request has come."""
        path = message.url.partition(b"?")[0]
        if self.asked.get_method() != b"POST" or path not in PATHS:
            self._calls.append(None)
            return
        self._metrics.enter(1)
        body = bytes(message.body) if len(message.body) <= KEPT_BYTES else None
        self._calls.append(Call(began_s=self._now_s, body=body))

    def piece(self, message: _Message) -> None:
        """More of an answer has come: a streamed one is read event by event."""
        call = self._calls[0] if self._calls else None
        if call is None or not message.streamed:
            return
        *events, message.body = message.body.split(b"\n\n")
        for event in events:
            if event.startswith(EVENT):
                self._event(call, json.loads(event[len(EVENT) - 1 :])["choices"][0])

    def _event(self, call: Call, choice: dict[str, Any]) -> None:
        if choice.get("finish_reason"):
            call.finish = choice["finish_reason"]
        elif "text" in choice or "content" in choice["delta"]:
            if call.tokens:
                self._metrics.gap.observe(self._now_s - call.last_s)
            else:
                call.first_s = self._now_s
                self._metrics.ttft.observe(self._now_s - call.began_s)
            call.last_s = self._now_s
            call.tokens += 1
            self._metrics.outputs.inc()

    def answer(self, message: _Message) -> None:
        """A whole answer has come."""
        status = self.answered.get_status_code()
        if status < 200 or not self._calls:  # "continue"; or one that waited for no request
            return
        if (call := self._calls.popleft()) is None:
            return
        self._metrics.enter(-1)
        if status >= 500:
            self._metrics.ended["error"].inc()
        elif status < 300 and message.streamed:
            self._streamed(call)
        elif status < 300 and len(message.body) <= KEPT_BYTES:
            self._at_once(call, json.loads(message.body))

    def _streamed(self, call: Call) -> None:
        self._metrics.ended[call.finish or "error"].inc()
        if call.finish is None:
            return
        if call.tokens > 1:
            self._metrics.tpot.observe((call.last_s - call.first_s) / (call.tokens - 1))
        self._alone(call, call.tokens)

    def _at_once(self, call: Call, answer: dict[str, Any]) -> None:
        tokens = answer["usage"]["completion_tokens"]
        self._metrics.outputs.inc(tokens)
        for choice in answer["choices"]:
            self._metrics.ended[choice["finish_reason"]].inc()
        if len(answer["choices"]) == 1:  # several share one time, which is that of none
            self._alone(call, tokens)

    def _alone(self, call: Call, tokens: int) -> None:
        self._metrics.e2e.observe(self._now_s - call.began_s)
        self._metrics.output.observe(tokens)
        if call.body is not None:
            self._count(call.body)


class _Message:
    """What the parser of one direction has read of a request or an answer, by its calls."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.url, self.streamed, self.body = b"", False, bytearray()

    def on_message_begin(self) -> None:
        self.url, self.streamed, self.body = b"", False, bytearray()

    def on_body(self, body: bytes) -> None:
        if len(self.body) <= KEPT_BYTES:
            self.body += body


class _Asked(_Message):
    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        self.watch.request(self)


class _Answered(_Message):
    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.streamed = value.startswith(b"text/event-stream")

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self.watch.piece(self)

    def on_message_complete(self) -> None:
        self.watch.answer(self)
