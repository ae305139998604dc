"""A plan on the operator's list, waiting for what happens to it, and for its turn to take GPUs."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from guide_operator.findings import LiveFinding

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace, name
Age = tuple[str, str, str]  # creationTimestamp, namespace, name: the same after every restart


class TryAgain(Exception):
    """The plan is not done; trying again later may help."""


# Most of a status: told to people, and read by nobody while a plan waits.
_TOLD = frozenset(
    {"alternatives", "otherFrameworks", "rejections", "rejectionCounts", "inventory", "notes"}
)


@dataclass(eq=False)
class Work:
    """A plan and what has happened to it since its task last looked.

    There may be thousands: what is only told of an answer is kept compressed (`whole`), and who
    wrote which field of the plan not at all.
    """

    plan: Object
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    edited: asyncio.Event = field(default_factory=asyncio.Event)  # by its user
    asked: bool = True  # by its user or by time, and not merely by a change in the cluster
    failures: int = 0  # since it last came to an end
    written: str | None = None  # resourceVersion after our own last write
    look_again_s: float | None = None
    poll_s: float | None = None  # while a rollout goes on or is stuck
    unasked_s: float = 0.0  # of such polls, since it was last asked by time
    task: asyncio.Task[None] | None = None
    finding: LiveFinding | None = None  # what its pods did, where Prometheus is read
    _told: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self.hold(self.plan)

    def hold(self, plan: Object) -> None:
        """Take over the plan as it is now."""
        status: Object = plan.get("status") or {}
        told = {key: status[key] for key in status.keys() & _TOLD}
        self._told = zlib.compress(json.dumps(told).encode(), 1) if told else b""
        self.plan = {**plan, "metadata": _without(plan.get("metadata", {}), {"managedFields"})}
        if told:
            self.plan["status"] = _without(status, _TOLD)

    def whole(self) -> Object:
        """The plan with all of its status."""
        if not self._told:
            return self.plan
        told = json.loads(zlib.decompress(self._told))
        return {**self.plan, "status": {**self.plan["status"], **told}}


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
