"""One kind of objects in a thread: what is there, what changes, what went while nobody looked.

Every list replaces what was known: after a gap that a watch cannot fill, what it lacks is gone.
A kind that the cluster does not have is asked for again, for its definition may come.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guide.cluster.client import ClusterClient, NotFound
from guide.cluster.following import Kind, changes, everything
from guide.cluster.json_values import mapping
from guide.cluster.refusals import Forgotten
from guide.errors import ClusterError
from guide_operator.pulse import Beat

Object = Mapping[str, Any]
Key = tuple[str | None, str]  # namespace, if the kind has one, and name
Take = Callable[[Key, Object | None], None]  # None: it is gone

_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_RESCAN_S = 5.0  # for a kind that the cluster does not have
_AT_ONCE = 200  # objects between two breaths of the event loop

log = logging.getLogger("guide")


class Watch:
    """Tells `take`, on the event loop, of every object of a kind, and `listed` after each list."""

    def __init__(
        self,
        client: ClusterClient,
        kind: Kind,
        take: Take,
        listed: Callable[[], None],
        *,
        optional: bool = False,
    ) -> None:
        """`optional`: a cluster without that kind has none of these objects, and that is all."""
        self.kind = kind
        self.problem = f"{kind.plural} have not been listed to the end yet"
        self.heard, self.tried = Beat(), Beat()  # the API server answered; the thread asked
        self._client, self._take, self._listed, self._optional = client, take, listed, optional
        self._known: dict[Key, str] = {}  # uid
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin; the thread ends with the process or with the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self.heard.now()
        threading.Thread(target=self._run, name=f"watch {self.kind.plural}", daemon=True).start()

    def _run(self) -> None:
        failures = 0
        while True:
            self.tried.now()
            try:
                self._follow()
            except Forgotten:
                log.info("%s are listed anew: the watch has missed some time", self.kind.plural)
                time.sleep(_PAUSE_S)
            except NotFound as error:
                self._all([])
                self.problem = "" if self._optional else f"{error}: is its definition installed?"
                time.sleep(_RESCAN_S * random.uniform(0.8, 1.2))
            except ClusterError as error:
                log.warning("%s", error)
                self.problem = str(error)
                failures += 1
                longest_s = min(_PAUSE_S * 2**failures, _LONGEST_PAUSE_S)
                time.sleep(longest_s * random.uniform(0.5, 1))
                continue
            except Exception:
                if self._loop is None or self._loop.is_closed():
                    return
                log.exception("watching %s: this is a bug in GUIDE", self.kind.plural)
                time.sleep(_LONGEST_PAUSE_S)
            failures = 0

    def _follow(self) -> None:
        objects, version = everything(self._client.api, self.kind)
        self._all(objects)
        self.problem = ""
        while True:
            for heard in changes(self._client.api, self.kind, version):
                version = heard.version
                self.heard.now()
                self.tried.now()
                self._tell(
                    (_key(value), None if deleted else value) for value, deleted in heard.events
                )
            self.tried.now()
            time.sleep(_PAUSE_S * random.uniform(0.1, 1))

    def _all(self, objects: Iterable[Object]) -> None:
        """Take over a list: first what has gone, also what was made again under the same name."""
        self.heard.now()
        new = {_key(value): value for value in objects}
        gone = [key for key, uid in self._known.items() if key not in new or _uid(new[key]) != uid]
        self._tell([*((key, None) for key in gone), *new.items()])
        self._on_loop(self._say_listed())

    def _tell(self, told: Iterable[tuple[Key, Object | None]]) -> None:
        """In order, and before more is read: a loop that is behind is not buried."""
        batch = list(told)
        if batch:
            self._on_loop(self._taken(batch))

    def _on_loop(self, what: Any) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _taken(self, batch: list[tuple[Key, Object | None]]) -> None:
        for number, (key, value) in enumerate(batch, 1):
            if value is None:
                self._known.pop(key, None)
            else:
                self._known[key] = _uid(value)
            try:
                self._take(key, value)
            except Exception:  # one odd object must not hide the others
                log.exception("%s %s: this is a bug in GUIDE", self.kind.plural, key)
            if not number % _AT_ONCE:
                await asyncio.sleep(0)

    async def _say_listed(self) -> None:
        self._listed()


def _key(value: Object) -> Key:
    meta = mapping(value.get("metadata"))
    return meta.get("namespace"), str(meta.get("name"))


def _uid(value: Object) -> str:
    return str(mapping(value.get("metadata")).get("uid"))
