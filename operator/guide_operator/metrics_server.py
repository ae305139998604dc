"""Serves /metrics: to everyone, or to those alone whom the API server lets read it."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app  # pyright: ignore[reportUnknownVariableType]

from guide.cluster.access import may_get, user_of
from guide.cluster.client import ClusterClient
from guide.errors import ClusterError

PATH = "/metrics"
_REMEMBERED_S = 60.0  # an answer of the API server
_MOST_REMEMBERED = 100
_SAID = {401: "401 Unauthorized", 403: "403 Forbidden", 503: "503 Service Unavailable"}

log = logging.getLogger("guide")


class Readers:
    """Who may read the metrics, by the bearer token of a request."""

    def __init__(self, client: ClusterClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._known: dict[str, tuple[float, int]] = {}  # by digest of the token
        self._lock = threading.Lock()

    def status(self, authorization: str) -> int:
        """200, or the status of the refusal, for the header of a request."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return 401
        key, now_s = hashlib.sha256(token.encode()).hexdigest(), self._clock()
        with self._lock:
            then_s, status = self._known.get(key, (now_s - _REMEMBERED_S, 401))
        if now_s - then_s < _REMEMBERED_S:
            return status
        try:
            status = self._asked(token.strip())
        except ClusterError as error:
            log.warning("who may read metrics: %s", error)
            return 503
        with self._lock:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = now_s, status
        return status

    def _asked(self, token: str) -> int:
        user = user_of(self._client, token)
        if user is None:
            return 401
        return 200 if may_get(self._client, user, PATH) else 403


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds, for a client that says nothing

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        del format, args


def serve(port: int, address: str, registry: CollectorRegistry, readers: Readers | None) -> None:
    """Serve from threads of its own until the process ends; without `readers` to everyone."""
    metrics: Callable[..., Iterable[bytes]] = cast("Any", make_wsgi_app)(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status = 200 if readers is None else readers.status(environ.get("HTTP_AUTHORIZATION", ""))
        if status == 200:
            return metrics(environ, start_response)
        asks = [("WWW-Authenticate", "Bearer")] if status == 401 else []
        start_response(_SAID[status], [("Content-Type", "text/plain"), *asks])
        return [f"{_SAID[status]}: a bearer token that may get {PATH}\n".encode()]

    server = make_server(address, port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
