"""A proxy before the API server that answers a share of the requests with an error of its own.

Clients speak plain HTTP to it on 127.0.0.1; it speaks as the user of a kubeconfig to the server.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import random
import ssl
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientResponse, ClientSession, ClientTimeout, TCPConnector, web

REASONS = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
}
READS, WRITES = (429, 500), (409, 429, 500)
_HOP = {"connection", "content-encoding", "content-length", "host", "transfer-encoding"}


def _watches(request: web.Request) -> bool:
    return request.query.get("watch", "").lower() in {"true", "1"}


def _failure(code: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": REASONS[code],
        "message": "made up by the proxy",
    }


@dataclass
class Faults:
    """How often something fails; `given` counts what did, by status."""

    share: float
    dice: random.Random = field(default_factory=lambda: random.Random(0))
    given: Counter[int] = field(default_factory=Counter)
    blind: bool = False  # watches end, and neither they nor lists are answered
    _forgotten: set[str] = field(default_factory=set[str])  # watches that must list anew

    @contextmanager
    def gap(self) -> Generator[None]:
        """Nothing is told of what happens meanwhile; then the API server has forgotten it."""
        self.blind = True
        try:
            yield
        finally:
            self.blind = False

    def cut(self, request: web.Request) -> bool:
        """Whether a watch ends now; it will be told that its version is too old."""
        if self.blind and _watches(request):
            self._forgotten.add(request.path)
        return self.blind and _watches(request)

    def next(self, request: web.Request) -> int | None:
        """The status of an invented error, or None to let the request through."""
        watch = _watches(request)
        if self.blind and (watch or request.path in self._forgotten):
            return 429
        if request.path in self._forgotten and request.method == "GET":
            self._forgotten.discard(request.path)
            if watch:
                return 410
        codes = (410,) if watch else READS if request.method == "GET" else WRITES
        due = [code for code in codes if not self.given[code]]  # each happens at least once
        if self.share == 0 or (not due and self.dice.random() >= self.share):
            return None
        code = self.dice.choice(due or codes)
        self.given[code] += 1
        return code


@dataclass(frozen=True)
class _Upstream:
    """The API server and how to log in to it."""

    url: str
    trust: ssl.SSLContext
    headers: dict[str, str]

    @classmethod
    def of(cls, kubeconfig: Path, folder: Path) -> _Upstream:
        value = yaml.safe_load(kubeconfig.read_text())
        cluster, user = value["clusters"][0]["cluster"], value["users"][0]["user"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=ca)
        if "token" in user:
            return cls(cluster["server"], trust, {"Authorization": f"Bearer {user['token']}"})
        pair = folder / "client.pem"
        pair.write_bytes(
            base64.b64decode(user["client-certificate-data"])
            + base64.b64decode(user["client-key-data"])
        )
        trust.load_cert_chain(pair)
        return cls(cluster["server"], trust, {})


async def _answer(
    request: web.Request, session: ClientSession, upstream: _Upstream, faults: Faults
) -> web.StreamResponse:
    code = faults.next(request)
    if code == 410:  # how API servers tell a watch that its version is gone
        return web.json_response({"type": "ERROR", "object": _failure(410)})
    if code is not None:
        # Half of the failed writes have reached the server: only the answer was lost.
        if code == 500 and request.method != "GET" and faults.dice.random() < 0.5:
            await (await _forward(request, session, upstream)).read()
        return web.json_response(_failure(code), status=code)
    async with _aborted(await _forward(request, session, upstream)) as found:
        headers = {k: v for k, v in found.headers.items() if k.lower() not in _HOP}
        response = web.StreamResponse(status=found.status, headers=headers)
        with suppress(ConnectionResetError):  # the client has gone
            await response.prepare(request)
            while not faults.cut(request):
                try:
                    part = await asyncio.wait_for(found.content.readany(), 0.2)
                except TimeoutError:
                    continue
                if not part:
                    break
                await response.write(part)
            await response.write_eof()
        return response


@asynccontextmanager
async def _aborted(found: ClientResponse) -> AsyncGenerator[ClientResponse]:
    """An answer that is cut off where it is left: the loop may end before a farewell of TLS."""
    try:
        yield found
    finally:
        if found.connection and found.connection.transport:  # None once it is read whole
            found.connection.transport.abort()
        found.close()


async def _forward(
    request: web.Request, session: ClientSession, upstream: _Upstream
) -> ClientResponse:
    return await session.request(
        request.method,
        upstream.url + request.raw_path,
        headers={
            **{k: v for k, v in request.headers.items() if k.lower() not in _HOP},
            **upstream.headers,
        },
        data=await request.read() or None,
        skip_auto_headers=("Content-Type",),  # what the client left unsaid stays so
    )


@contextmanager
def faulty(kubeconfig: Path, folder: Path, share: float) -> Generator[tuple[Path, Faults]]:
    """A proxy in a thread of its own: the kubeconfig that leads through it, and its faults."""
    upstream, faults = _Upstream.of(kubeconfig, folder), Faults(share)
    loop, started, port = asyncio.new_event_loop(), threading.Event(), []
    stop = asyncio.Event()

    async def serve() -> None:
        connector = TCPConnector(ssl=upstream.trust, limit=0)
        timeout = ClientTimeout(total=None)
        async with ClientSession(connector=connector, timeout=timeout) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await _answer(request, session, upstream, faults)

            application = web.Application(client_max_size=16 * 2**20)
            application.router.add_route("*", "/{path:.*}", handle)
            runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port.append(runner.addresses[0][1])
            started.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(10)
    through = folder / "through-proxy"
    through.write_text(json.dumps(_kubeconfig(port[0])))
    try:
        yield through, faults
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)
        loop.close()
        gc.collect()  # what was left open is told of here, not in a test that comes later


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
