"""Whether this replica can do its work: /readyz, apart from /healthz, which a restart would mend.

A replica that waits for the Lease is ready, or a rolling upgrade would wait for it for ever. One
that cannot read the Lease, or list what it must watch, is blind: it says so in one sentence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guide.cluster.client import ClusterClient
from guide.errors import ClusterError

_FRESH_S = 10.0


class Readiness:
    """What keeps this replica from its work, asked of the API server at most every ten seconds."""

    def __init__(self, client: ClusterClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._asked_s, self._found, self._plans = -_FRESH_S, "", False
        self.lease_problem: Callable[[], str] = lambda: ""
        self.started = threading.Event()  # the watches are opened
        self.told = threading.Event()  # of a plan: kopf holds them back until all else was listed

    def wait_for_turn(self, waiting: bool) -> None:
        """While another replica leads, there is nothing to see."""
        for event in (self.started, self.told):
            event.set() if waiting else event.clear()

    def problem(self) -> str:
        """One sentence, or nothing when all is well; may wait for the API server."""
        if problem := self.lease_problem():
            return problem
        if self._clock() - self._asked_s >= _FRESH_S:
            self._found, self._asked_s = self._look(), self._clock()
        if self._found:
            return self._found
        if not self.started.is_set():
            return "the watches have not started yet"
        if self._plans and not self.told.is_set():
            return "nodes, pods or devices have not been listed to the end yet"
        return ""

    def _look(self) -> str:
        try:
            self._plans = self._client.look()
        except ClusterError as error:
            return str(error)
        return ""
