"""What stands between the network and the page: limits on size and number, and headers."""

from __future__ import annotations

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guide.units import MIB

BODY_LIMIT_BYTES = 8 * MIB
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
TOO_LARGE = (
    f"The request is larger than {BODY_LIMIT_BYTES // MIB} MiB: for so many nodes use "
    "`guide plan --nodes` on the command line."
)


class TooLarge(HTTPException):
    """The body is longer than the limit, as stated or as counted."""

    def __init__(self) -> None:
        super().__init__(413, TOO_LARGE)


class Guard:
    """ASGI middleware: refuses bodies over the limit, and sets the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        seen, stated = 0, int(length) if length.isdigit() else 0

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        async def receive_guarded() -> Message:
            nonlocal seen
            if stated > BODY_LIMIT_BYTES:
                raise TooLarge
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > BODY_LIMIT_BYTES:
                raise TooLarge
            return message

        await self.app(scope, receive_guarded, send_guarded)


class Rate:
    """At most so many answers a minute for one client address, in a moving window."""

    def __init__(self, answers_per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(answers_per_minute)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def admits(self, client: str) -> bool:
        """Count one answer; False when there were too many."""
        return self._window.hit(self._limit, client)
