"""One request to the API server: its JSON, or one of our errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from guide.cluster.json_values import mapping, sequence
from guide.cluster.refusals import translate
from guide.errors import ClusterError

Object = dict[str, Any]

_TIMEOUT_S, _PAGE = (5, 60), 500  # connect and read; objects


def call(what: str, ask: Callable[..., Any], **arguments: Any) -> Object:
    """The JSON answer of one call, without the detour through typed models."""
    with _translated(what):
        response = ask(**arguments, _preload_content=False, _request_timeout=_TIMEOUT_S)
        return cast("Object", json.loads(response.data))


def pages(what: str, ask: Callable[..., Any], **arguments: Any) -> list[Object]:
    """All objects of a list, asked page by page."""
    return listed(what, ask, **arguments)[0]


def listed(what: str, ask: Callable[..., Any], **arguments: Any) -> tuple[list[Object], str]:
    """`pages`, and the version of the list, from which a watch goes on."""
    items: list[Object] = []
    more: str | None = None
    while True:
        page = call(what, ask, **arguments, limit=_PAGE, **({"_continue": more} if more else {}))
        items.extend(sequence(page.get("items")))
        meta = mapping(page.get("metadata"))
        more = meta.get("continue")
        if not more:
            return items, str(meta.get("resourceVersion") or "")


def lines(
    what: str, ask: Callable[..., Any], silence_s: float, **arguments: Any
) -> Generator[list[bytes]]:
    """What comes of an answer that does not end, in whole lines; as many as came at once.

    It ends when the connection does, or after `silence_s` in which nothing came.
    """
    from urllib3.exceptions import HTTPError

    timeout_s = (_TIMEOUT_S[0], silence_s)
    with _translated(what):
        response = ask(**arguments, _preload_content=False, _request_timeout=timeout_s)
    rest = b""
    try:
        for part in response.stream():
            *whole, rest = (rest + part).split(b"\n")
            if whole:
                yield whole
    except (HTTPError, OSError):
        return
    finally:
        response.close()


@contextmanager
def _translated(what: str) -> Generator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise translate(what, error) from None
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(f"cannot {what}: the API server did not answer ({reason})") from None
