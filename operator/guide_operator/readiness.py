"""Whether this replica can do its work: /readyz, apart from /healthz, which a restart would mend.

A replica that waits for the Lease is ready, or a rolling upgrade would wait for it for ever. One
that cannot read the Lease, or list and follow what it must watch, is blind: it says so in one
sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from guide.cluster.client import ClusterClient
from guide.errors import ClusterError

_FRESH_S = 10.0


class Readiness:
    """What keeps this replica from its work; the API server is asked at most every ten seconds."""

    def __init__(self, client: ClusterClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._asked_s, self._found = -_FRESH_S, ""
        self.lease_problem: Callable[[], str] = lambda: ""
        self.watch_problem: Callable[[], str] = lambda: "the watches have not started yet"

    def wait_for_turn(self) -> None:
        """While another replica leads, there is nothing to see."""
        self.watch_problem = lambda: ""

    def problem(self) -> str:
        """One sentence, or nothing when all is well; may wait for the API server."""
        if problem := self.lease_problem():
            return problem
        if self._clock() - self._asked_s >= _FRESH_S:
            self._found, self._asked_s = self._look(), self._clock()
        return self._found or self.watch_problem()

    def _look(self) -> str:
        """A watch that is cut without a word is noticed late: ask."""
        try:
            self._client.look()
        except ClusterError as error:
            return str(error)
        return ""
