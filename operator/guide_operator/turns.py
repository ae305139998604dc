"""Who may take GPUs next: one plan at a time, the oldest of those that wait first."""

from __future__ import annotations

import asyncio

Key = tuple[str, str]  # namespace, name
Age = tuple[str, str, str]  # creationTimestamp, namespace, name: the same after every restart


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
