"""What kopf told us beside what the API server lists: what has gone unseen, and what is unseen.

kopf lists anew after a gap that a watch cannot fill, and says nothing of what that list lacks; a
kind whose definition came after its start it never watches. So at intervals, and after each list of
kopf's, everything is listed once through our own client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guide.cluster.client import ClusterClient, NotFound
from guide.cluster.json_values import mapping
from guide.errors import ClusterError
from guide_operator.pulse import Beat, Pulse

Key = tuple[str | None, str]  # namespace, if the kind has one, and name
Object = Mapping[str, Any]

_SOON_S, _LONGEST_S = 1.0, 15.0  # between looks while something is unseen
_PATIENCE_S = 120.0  # for kopf to tell of what is there
_LATE_S = 10.0  # the same at first for a kind that came late: kopf asks once which kinds there are,
# and an API server that has just started may not name all of them yet

log = logging.getLogger("guide")


@dataclass
class Kind:
    """A kind that kopf watches, and all of it that kopf has told of (uid by key)."""

    group: str  # empty: the core
    version: str
    plural: str
    optional: bool = False  # a cluster without that kind has none of these objects
    fields: str = ""  # field selector of the watch
    gone: Callable[[Key], None] = lambda key: None  # is told of what vanished unseen
    told: dict[Key, str] = field(default_factory=dict[Key, str])
    heard: Beat = field(default_factory=Beat)
    problem: str = "the watches have not started yet"
    missing: bool = False  # in this cluster, when it was last listed
    unseen_since_s: float | None = None
    patience_s: float = _PATIENCE_S

    def tell(self, body: Object) -> None:
        """kopf has told of an object."""
        self.told[key_of(body)] = _uid(body)
        self.heard.now()

    def forget(self, body: Object) -> None:
        """kopf has told that an object is deleted."""
        if self.told.get(key_of(body)) == _uid(body):
            del self.told[key_of(body)]
        self.heard.now()


class Sweep:
    """Compares all kinds; `again` is called where kopf has to watch anew."""

    def __init__(self, client: ClusterClient, interval_s: float, again: Callable[[], None]) -> None:
        self.kinds: list[Kind] = []
        self.looks = Pulse()  # idle between two: how long one takes
        self._client, self._interval_s, self._again = client, interval_s, again
        self._asked = asyncio.Event()

    def watch(self, kinds: list[Kind]) -> None:
        """kopf begins to watch these; what it told of them before still counts."""
        for new, old in zip(kinds, self.kinds, strict=False):
            new.told, new.heard, new.missing = old.told, old.heard, old.missing
            new.patience_s = old.patience_s
        self.kinds = kinds

    def ask(self) -> None:
        """Look soon: kopf has listed something."""
        self._asked.set()

    def problem(self) -> str:
        """What is not seen, in one sentence; nothing once all of every kind is."""
        return next((kind.problem for kind in self.kinds if kind.problem), "")

    async def run(self) -> None:
        """Look until cancelled."""
        pause_s = _SOON_S
        while True:
            for kind in self.kinds:
                self.looks.begin()
                try:
                    await self._look(kind)
                finally:
                    self.looks.end()
            pause_s = min(2 * pause_s, _LONGEST_S) if self.problem() else _SOON_S
            try:
                async with asyncio.timeout(pause_s if self.problem() else self._interval_s):
                    await self._asked.wait()
                await asyncio.sleep(pause_s)  # kopf tells of a list object by object
            except TimeoutError:
                pass
            self._asked.clear()

    async def _look(self, kind: Kind) -> None:
        before = dict(kind.told)  # what is told of meanwhile is not judged by this list
        missing = False
        try:
            objects = await asyncio.to_thread(
                self._client.all_of, kind.group, kind.version, kind.plural, kind.fields
            )
        except NotFound as error:
            objects, missing = [], True
            kind.problem = "" if kind.optional else f"{error}: is its definition installed?"
        except ClusterError as error:
            kind.problem = str(error)
            return
        there = {key_of(value): _uid(value) for value in objects}
        for key, uid in before.items():
            if there.get(key) != uid and kind.told.get(key) == uid:
                log.info("%s %s vanished while nobody looked", kind.plural, key)
                del kind.told[key]
                kind.gone(key)
        came, kind.missing = kind.missing and not missing, missing
        if came:
            log.info("%s are served now", kind.plural)
            kind.patience_s = _LATE_S
        late = self._unseen(kind, there)
        if late:
            kind.patience_s = min(2 * kind.patience_s, _PATIENCE_S)
        if late or came:
            kind.unseen_since_s = None
            self._again()

    def _unseen(self, kind: Kind, there: Mapping[Key, str]) -> bool:
        """Whether kopf does not tell of what is there, for longer than a list may take."""
        if kind.missing:
            return False
        unseen = [key for key, uid in there.items() if kind.told.get(key) != uid]
        now_s = time.monotonic()
        if not unseen:
            kind.problem, kind.unseen_since_s = "", None
            kind.heard.now()
            return False
        kind.problem = f"{len(unseen)} of {len(there)} {kind.plural} are not seen yet"
        kind.unseen_since_s = kind.unseen_since_s or now_s
        return now_s - kind.unseen_since_s > kind.patience_s


def key_of(body: Object) -> Key:
    """Namespace, if the kind has one, and name."""
    meta = mapping(body.get("metadata"))
    return meta.get("namespace"), str(meta.get("name"))


def _uid(body: Object) -> str:
    return str(mapping(body.get("metadata")).get("uid"))
