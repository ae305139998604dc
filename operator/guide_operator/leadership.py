"""One replica leads, by a Lease; the others wait and write nothing. Who loses it ends at once.

Expiry is measured by the monotonic clock of who waits, from when it saw the last renewal, so that
neither jumps nor differences of wall clocks make two leaders.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from guide.cluster.client import ClusterClient
from guide.cluster.json_values import mapping
from guide.cluster.refusals import Stale
from guide.errors import ClusterError

LIFETIME_S = 15.0  # without a renewal, another replica takes over
_DEADLINE_S = 10.0  # a leader that could not renew for so long ends itself, well before that
_RETRY_S = 2.0

log = logging.getLogger("guide")


class Leadership:
    """The place of this replica (`identity`) in the election by Lease `namespace`/`name`."""

    def __init__(self, client: ClusterClient, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace, self._name, self._identity = namespace, name, identity
        self._version, self._seen_s = "", 0.0
        self._stopped = threading.Event()
        self._end: threading.Timer | None = None
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._problem = ""

    def problem(self) -> str:
        """Why the Lease cannot be read or written; nothing when it could be, whoever holds it."""
        return self._problem

    async def gain(self) -> None:
        """Wait until this replica leads; from then on it renews, or the process ends."""
        log.info("%s waits for Lease %s/%s", self._identity, self._namespace, self._name)
        while not await asyncio.to_thread(self._take):
            await asyncio.sleep(_RETRY_S)
        log.info("%s leads", self._identity)
        self._renewing.start()

    def release(self) -> None:
        """Let another replica lead at once; call it when nothing is written any more."""
        self._stopped.set()
        if self._renewing.is_alive():
            self._renewing.join()
            self._take(holder="")
        if self._end is not None:
            self._end.cancel()

    def _renew(self) -> None:
        while not self._stopped.wait(_RETRY_S):
            self._take()

    def _take(self, holder: str | None = None) -> bool:
        """Take or renew the Lease, or write another holder; whether it is ours now."""
        try:
            lease = self._client.lease(self._namespace, self._name)
            if self._held_by_another(lease):
                self._problem = ""
                return False
            asked_s = time.monotonic()  # the Lease lives from its writing, however slow the reading
            self._write(lease["metadata"]["resourceVersion"], holder)
        except Stale:  # another replica was quicker
            return False
        except ClusterError as error:
            self._problem = f"Lease {self._namespace}/{self._name}: {error}"
            log.warning(self._problem)
            return False
        self._problem = ""
        self._live_until(asked_s + _DEADLINE_S)
        return True

    def _held_by_another(self, lease: Mapping[str, Any]) -> bool:
        version = lease["metadata"]["resourceVersion"]
        if version != self._version:
            self._version, self._seen_s = version, time.monotonic()
        held = mapping(lease.get("spec")).get("holderIdentity") not in {None, "", self._identity}
        if held and self._end is not None:
            self._lost()
        return held and time.monotonic() - self._seen_s < LIFETIME_S

    def _write(self, version: str, holder: str | None) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._client.apply(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {
                    "name": self._name,
                    "namespace": self._namespace,
                    "resourceVersion": version,  # else it was renewed or taken meanwhile
                },
                "spec": {
                    "holderIdentity": self._identity if holder is None else holder,
                    "leaseDurationSeconds": int(LIFETIME_S),
                    "renewTime": now,
                },
            }
        )

    def _live_until(self, deadline_s: float) -> None:
        """A timer and not a check: a renewal that hangs must not keep a leader alive."""
        if self._end is not None:
            self._end.cancel()
        self._end = threading.Timer(max(0.0, deadline_s - time.monotonic()), self._lost)
        self._end.daemon = True
        self._end.start()

    def _lost(self) -> None:
        log.error("%s lost Lease %s/%s: ending", self._identity, self._namespace, self._name)
        os._exit(1)  # nothing that is under way may be written
