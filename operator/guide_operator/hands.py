"""Sees what others do to the objects of mode Apply by hand, such as `kubectl scale`.

Deployments and Services are not watched, since that would need rights in every namespace. They are
listed at intervals where plans are applied: the API server itself notes who wrote which field when.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping

from guide.cluster.client import ClusterClient, Refused
from guide.errors import ClusterError
from guide.manifests.names import PLAN_LABEL, object_name
from guide_operator.controller import Controller
from guide_operator.field_owners import Written, others, touched
from guide_operator.work import Work

Owner = tuple[str, str]  # namespace, label of the plan

LOOK_S = 15.0
_KINDS = (("apps/v1", "Deployment"), ("v1", "Service"))

log = logging.getLogger("guide")


class Hands:
    """Wakes the plans whose objects others wrote or deleted; `run` is a task of its own."""

    def __init__(self, client: ClusterClient, controller: Controller) -> None:
        self._client = client
        self._controller = controller
        self._known: dict[Owner, Written] = {}

    async def run(self) -> None:
        """Look until cancelled; a namespace that cannot be read waits for the next look."""
        while True:
            await asyncio.sleep(LOOK_S)
            works: dict[str, dict[Owner, Work]] = defaultdict(dict)
            for work in self._controller.applied():
                metadata = work.plan["metadata"]
                owner = metadata["namespace"], object_name(metadata["name"])
                works[owner[0]][owner] = work
            self._known = {
                owner: self._known[owner]
                for found in works.values()
                for owner in found
                if owner in self._known
            }
            for namespace, found in works.items():
                try:
                    await self._look(namespace, found)
                except Refused:  # its plans say so themselves
                    continue
                except ClusterError as error:
                    log.warning("looking at what was applied: %s", error)

    async def _look(self, namespace: str, works: Mapping[Owner, Work]) -> None:
        written: dict[Owner, dict[str, frozenset[str]]] = defaultdict(dict)
        for api_version, kind in _KINDS:
            found = await asyncio.to_thread(
                self._client.labelled, api_version, kind, namespace, PLAN_LABEL
            )
            for value in found:
                metadata = value["metadata"]
                owner = namespace, metadata["labels"][PLAN_LABEL]
                written[owner][f"{kind} {metadata['name']}"] = others(value)
        for owner, work in works.items():
            if touched(self._known.get(owner, {}), written[owner]):
                self._controller.touched(work)
            self._known[owner] = written[owner]
