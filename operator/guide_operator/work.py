"""A plan on the operator's list, waiting for what happens to it, and for its turn to take GPUs."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from guide_operator.findings import LiveFinding

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
Age = tuple[str, str, str]  # creationTimestamp, namespace, name: the same after every restart


class TryAgain(Exception):
    """The plan is not done; trying again later may help."""


# Most of a status: told to people, and seldom read until another is written.
_TOLD = (
    *("alternatives", "best", "inventory", "notes", "otherFrameworks"),
    *("rejections", "rejectionCounts"),
)


class HeldStatus(Mapping[str, Any]):
    """A status in little memory: most of it is packed, and unpacked each time it is read."""

    __slots__ = ("_packed", "_read", "_told")

    def __init__(self, status: Object) -> None:
        self._read = _shared_words(_without(status, _TOLD))
        self._told = tuple(key for key in _TOLD if key in status)
        told = {key: status[key] for key in self._told}
        self._packed = zlib.compress(json.dumps(told).encode())  # together: they repeat each other

    def __getitem__(self, key: str) -> Any:
        if key in self._told:
            return json.loads(zlib.decompress(self._packed))[key]
        return self._read[key]

    def __contains__(self, key: object) -> bool:
        return key in self._read or key in self._told

    def __iter__(self) -> Iterator[str]:
        yield from self._read
        yield from self._told

    def __len__(self) -> int:
        return len(self._read) + len(self._told)


@dataclass(eq=False)
class Work:
    """A plan and what has happened to it since its task last looked.

    There may be thousands, and all may wait for the engine at once: most of a status is held
    compressed, and who wrote which field of the plan not at all.
    """

    plan: Object
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    edited: asyncio.Future[None] | None = None  # by its user, where that is waited for
    asked: bool = True  # by its user or by time, and not merely by a change in the cluster
    failures: int = 0  # since it last came to an end
    written: str | None = None  # resourceVersion after our own last write
    look_again_s: float | None = None
    poll_s: float | None = None  # while a rollout goes on or is stuck
    unasked_s: float = 0.0  # of such polls, since it was last asked by time
    task: asyncio.Task[None] | None = None
    finding: LiveFinding | None = None  # what its pods did, where Prometheus is read

    def __post_init__(self) -> None:
        self.hold(self.plan)

    def hold(self, plan: Object) -> None:
        """Take over the plan as it is now."""
        status = plan.get("status")
        self.plan = {
            **_shared_words(_without(plan, {"metadata", "status"} if status else {"metadata"})),
            "metadata": _without(plan.get("metadata", {}), {"managedFields"}),
        }
        if status:
            self.plan["status"] = HeldStatus(status)

    def tell_edited(self) -> None:
        """Its user edited it: whoever waits for an answer to what it was need not."""
        if self.edited is not None and not self.edited.done():
            self.edited.set_result(None)


def _shared_words(value: Any) -> Any:
    """The same, with keys that all plans share: each object of the API server brings its own."""
    if isinstance(value, Mapping):
        found = cast("Object", value)
        return {sys.intern(key): _shared_words(part) for key, part in found.items()}
    if isinstance(value, list):
        return [_shared_words(part) for part in cast("list[Any]", value)]
    return value


def _without(value: Object, keys: Collection[str]) -> dict[str, Any]:
    return {key: kept for key, kept in value.items() if key not in keys}


async def either(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for a change, but not longer than that; True if there was one."""
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True


async def pause(changed: asyncio.Event, seconds: float) -> None:
    """The same, as a sleep that a change ends."""
    await either(changed, seconds)


class Turns:
    """A queue by age in which a plan has its place before it comes to take its turn.

    So a younger plan that is quicker to come does not overtake an older one that has something new
    to look at. Who leaves gives up turn and place.
    """

    def __init__(self) -> None:
        self._places: dict[Key, Age] = {}
        self._came: dict[Key, asyncio.Future[None]] = {}
        self._now: Key | None = None

    def join(self, key: Key, age: Age) -> None:
        """Take a place; nothing happens to one that is taken already."""
        self._places.setdefault(key, age)

    async def come(self, key: Key) -> None:
        """Wait for the turn of a plan that has a place."""
        came = self._came[key] = asyncio.get_running_loop().create_future()
        self._next()
        await came

    def leave(self, key: Key, *, keep_place: bool = False) -> None:
        """End the turn, if it is that of `key`, and give up its place unless it is kept."""
        self._came.pop(key, None)
        if not keep_place:
            self._places.pop(key, None)
        if self._now == key:
            self._now = None
        self._next()

    def _next(self) -> None:
        if self._now is not None or not self._places:
            return
        first = min(self._places, key=self._places.__getitem__)
        came = self._came.pop(first, None)
        if came is not None and not came.done():
            self._now = first
            came.set_result(None)
