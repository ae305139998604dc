"""A proxy in front of DeepSpeed-FastGen that measures what vLLM would tell of itself.

MII exports no metrics (DeepSpeed-MII issue 319). This script runs beside its server, in the image
of FastGen and from a ConfigMap: it imports nothing of GUIDE and holds to Python 3.10. Every byte is
sent on before it is looked at, both ways: nothing is held back, changed or lost. A copy goes
through an HTTP parser; what that finds is told under the names of vLLM, as far as it can be known:

- times of tokens: of streamed answers. MII sends an event a token, and a last one without any;
- total time, finish reason, output tokens: of all answers, or else from their `usage`;
- prompt tokens: by the model's tokenizer, as MII does; absent where it cannot be read;
- requests waiting: those beyond the largest batch, so no fewer than told;
- KV cache, prefix cache, preemptions and time in the queue: absent.

A connection on which nothing moves for too long is closed, and there is a most of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from prometheus_client import generate_latest

if __name__ == "__main__":  # in a pod both files lie in one folder
    from fastgen_watch import Metrics, Prompts, Watch
else:
    from guide.frameworks.fastgen_watch import Metrics, Prompts, Watch

PIECE_BYTES = 65536
SCRAPE = b"GET /metrics "
HEAD = b"HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n"


class Proxy:
    """Copies connections to the server at `upstream` (host, port) and watches them; `most` at once,
    closed after `idle_s` without a byte, or after `answer_s` where an answer is awaited.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        metrics: Metrics,
        prompts: Prompts,
        limits: tuple[int, float, float],
    ) -> None:
        self._upstream, self._metrics, self._prompts = upstream, metrics, prompts
        (self._most, self._idle_s, self._answer_s), self._open = limits, 0
        self._thread = ThreadPoolExecutor(1)  # tokenizing must not hold up the bytes

    async def run(self, port: int) -> None:
        """Serve until SIGTERM, and then until the last connection has ended."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        server = await asyncio.start_server(self._connection, "0.0.0.0", port)
        await stop.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:  # one side has gone, or says nothing; the other learns it by the close
            with suppress(OSError, asyncio.TimeoutError):
                if self._open > self._most:
                    writer.write(HEAD % b"503 Service Unavailable")
                    return
                piece = await asyncio.wait_for(reader.read(PIECE_BYTES), self._idle_s)
                if piece.startswith(SCRAPE):
                    writer.write(HEAD % b"200 OK" + generate_latest(self._metrics.registry))
                elif piece:
                    await self._between(piece, reader, writer)
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _between(
        self, piece: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            back, on = await asyncio.open_connection(*self._upstream)
        except OSError:
            writer.write(HEAD % b"502 Bad Gateway")
            return
        watch = Watch(self._metrics, partial(self._thread.submit, self._count))
        upwards = asyncio.create_task(self._upwards(piece, reader, on, watch))
        idle = asyncio.create_task(self._close_idle(watch, on))
        try:
            while piece := await back.read(PIECE_BYTES):
                now_s = time.perf_counter()
                writer.write(piece)
                watch.read(watch.answered, piece, now_s)
                await writer.drain()
        finally:
            gone = upwards.done() or reader.at_eof() or writer.is_closing()
            watch.end("abort" if gone else "error")
            upwards.cancel()
            idle.cancel()
            on.close()

    async def _close_idle(self, watch: Watch, on: asyncio.StreamWriter) -> None:
        while True:
            most_s = self._answer_s if watch.waits else self._idle_s
            left_s = watch.moved_s + most_s - time.perf_counter()
            if left_s <= 0:
                break
            await asyncio.sleep(min(left_s, self._idle_s))
        on.transport.abort()

    async def _upwards(
        self, piece: bytes, reader: asyncio.StreamReader, on: asyncio.StreamWriter, watch: Watch
    ) -> None:
        try:
            while piece:
                now_s = time.perf_counter()
                on.write(piece)
                watch.read(watch.asked, piece, now_s)
                await on.drain()
                piece = await reader.read(PIECE_BYTES)
            on.write_eof()
        except OSError:
            on.close()  # nobody waits for the answer any more

    def _count(self, body: bytes) -> None:
        try:
            tokens = self._prompts.count(json.loads(body))
        except Exception as error:  # no tokenizer, or a prompt that it does not take
            warnings.warn(f"a prompt is not counted: {error!r}", stacklevel=1)
            return
        self._metrics.prompts.inc(tokens)
        self._metrics.prompt.observe(tokens)


def main() -> None:
    """Run the proxy by the arguments of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    for name in ("--port", "--server-port", "--max-sequences"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--buckets", type=json.loads, required=True)
    for name, usual in (("--connections", 2000), ("--idle-s", 75), ("--answer-s", 3600)):
        parser.add_argument(name, type=float, default=usual)
    given = parser.parse_args()
    metrics = Metrics(given.model, given.max_sequences, given.buckets)
    limits = int(given.connections), given.idle_s, given.answer_s
    proxy = Proxy(("127.0.0.1", given.server_port), metrics, Prompts(given.model), limits)
    asyncio.run(proxy.run(given.port))


if __name__ == "__main__":
    main()
