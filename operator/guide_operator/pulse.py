"""Whether the parts of the operator go on: how long ago each was last seen to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


class Pulse:
    """Seconds since work of one kind last came to an end, while there is some; 0 when idle.

    What is slow but goes on stays young, however much waits: only what hangs grows old.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._under_way, self._last_s = 0, 0.0
        self._lock = threading.Lock()  # the exporter's thread reads

    def begin(self) -> None:
        """Work came that has to end."""
        with self._lock:
            if not self._under_way:
                self._last_s = self._clock()
            self._under_way += 1

    def end(self) -> None:
        """Some of it ended, whatever came of it."""
        with self._lock:
            self._under_way -= 1
            self._last_s = self._clock()

    def age_s(self) -> float:
        """How long nothing has come to an end."""
        with self._lock:
            return self._clock() - self._last_s if self._under_way else 0.0


class Beat:
    """Seconds since something last happened that has to happen again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s = clock()

    def now(self) -> None:
        """It happened."""
        self._last_s = self._clock()

    async def go_on(self) -> None:
        """Beat with the event loop, as long as it comes round."""
        while True:
            self.now()
            await asyncio.sleep(1)

    def age_s(self) -> float:
        """How long ago it happened."""
        return self._clock() - self._last_s
