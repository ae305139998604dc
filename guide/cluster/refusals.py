"""How a call to the API server can fail, by what to do about it."""

from __future__ import annotations

import json
from typing import Any, Protocol

from guide.cluster.json_values import mapping, sequence
from guide.errors import ClusterError


class ApiError(Protocol):
    """What is read of the client library's `ApiException`."""

    status: Any  # int
    reason: Any  # str or None
    body: Any  # str, bytes or None


class NotFound(ClusterError):
    """The object, its namespace or its kind does not exist."""


class Unauthenticated(ClusterError):
    """The API server does not know who asks: the token is wrong or has expired."""


class Refused(ClusterError):
    """The request is forbidden or invalid as it stands: trying again will not help."""


class Forbidden(Refused):
    """Who asks may not do that, or an admission policy forbids it."""


class Stale(ClusterError):
    """The object has changed or was replaced since it was read, or is there already."""


class Forgotten(ClusterError):
    """The API server does not know any more what has happened since: list everything anew."""


class FieldConflict(ClusterError):
    """Server-side apply met fields of another manager; ``owners`` holds (manager, field) pairs."""

    def __init__(self, message: str, owners: tuple[tuple[str, str], ...]) -> None:
        super().__init__(message)
        self.owners = owners


def translate(what: str, error: ApiError) -> ClusterError:
    """An API error in our words; `what` is the action that failed."""
    status, body = error.status, _body(error)
    reason = str(body.get("message") or error.reason or "no reason given")
    if status == 409:
        owners = tuple(
            (_manager(str(cause.get("message"))), str(cause.get("field")))
            for cause in map(mapping, sequence(mapping(body.get("details")).get("causes")))
            if cause.get("reason") == "FieldManagerConflict"
        )
        if owners:
            held = ", ".join(f"{field} belongs to {manager}" for manager, field in owners[:5])
            return FieldConflict(f"cannot {what}: {held}", owners)
    kinds = {
        401: Unauthenticated,
        403: Forbidden,
        404: NotFound,
        409: Stale,
        410: Forgotten,
        422: Refused,
    }
    kind = kinds.get(status, ClusterError)
    return kind(f"cannot {what}: the API server says {status}, {reason[:500]}")


def _body(error: ApiError) -> dict[str, Any]:
    try:
        return mapping(json.loads(error.body or "{}"))
    except ValueError:
        return {}


def _manager(message: str) -> str:
    """The name in ``conflict with "kubectl" using apps/v1``."""
    parts = message.split('"')
    return parts[1] if len(parts) > 2 else message
