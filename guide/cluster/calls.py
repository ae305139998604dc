"""One request to the API server: its JSON, or one of our errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from guide.cluster.json_values import mapping, sequence
from guide.cluster.refusals import NotFound, translate
from guide.errors import ClusterError

if TYPE_CHECKING:
    from urllib3 import Retry

Object = dict[str, Any]

_TIMEOUT_S, _PAGE = (5, 60), 500  # connect and read; objects


def call(what: str, ask: Callable[..., Any], **arguments: Any) -> Object:
    """The JSON answer of one call, without the detour through typed models."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        response = ask(**arguments, _preload_content=False, _request_timeout=_TIMEOUT_S)
        return cast("Object", json.loads(response.data))
    except ApiException as error:
        raise translate(what, error) from None
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(f"cannot {what}: the API server did not answer ({reason})") from None


def pages(what: str, ask: Callable[..., Any], **arguments: Any) -> list[Object]:
    """All objects of a list, asked page by page."""
    items: list[Object] = []
    more: str | None = None
    while True:
        page = call(what, ask, **arguments, limit=_PAGE, **({"_continue": more} if more else {}))
        items.extend(sequence(page.get("items")))
        more = mapping(page.get("metadata")).get("continue")
        if not more:
            return items


def found(what: str, ask: Callable[[], Any]) -> Object | None:
    """What a call for one object returns, or None when there is none."""
    try:
        return call(what, ask)
    except NotFound:
        return None


def retries() -> Retry:
    """What passes by itself is asked again before anybody hears of it: an answer of a plan rests on
    twenty requests, and one that fails would begin it anew. Not what makes an object, since a lost
    answer may mean that it is there.
    """
    from urllib3 import Retry

    return Retry(
        total=4,
        connect=False,  # who is away will not be back in a second
        read=False,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET", "PUT", "PATCH", "DELETE"),
        backoff_factor=0.2,
        backoff_jitter=0.2,
        backoff_max=2,
        raise_on_status=False,  # the last answer tells why
    )
