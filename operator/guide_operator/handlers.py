"""What is watched, and which change goes where. Nothing here writes anything.

Neither finalizers nor annotations are needed: a stopped operator never blocks a deletion, and plans
stay as their users wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from guide.cluster.client import ClusterClient
from guide.cluster.following import Kind
from guide.spec import API_VERSION
from guide_operator.controller import Controller, Object
from guide_operator.watching import Key, Watch

_UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"  # those without a node tell why
_GROUP, _VERSION = API_VERSION.split("/")


class Watches:
    """All that answers rest on, watched; plans wait until everything else was listed once."""

    def __init__(
        self, controller: Controller, client: ClusterClient, answers: Callable[[str], bool]
    ) -> None:
        """Where `answers` is false of a namespace, only what its plans hold counts."""
        self._controller, self._answers = controller, answers
        self._cluster = controller.cluster
        self._waiting: set[str] = set()  # kinds that were not listed yet
        self._held_back: dict[Key, Object] = {}
        resources = ("resource.k8s.io", "v1")
        self._watches = [
            Watch(client, kind, take, lambda kind=kind: self._listed(kind), optional=optional)
            for kind, take, optional in (
                (Kind("", "v1", "nodes"), self._node, False),
                (Kind("", "v1", "pods", _UNFINISHED), self._pod, False),
                (Kind(*resources, "resourceslices"), self._device, True),
                (Kind(*resources, "resourceclaims"), self._device, True),
                (Kind(_GROUP, _VERSION, "inferenceplans"), self._plan, False),
            )
        ]

    def start(self) -> None:
        """Begin to watch, from the event loop on which the controller works."""
        self._waiting = {one.kind.plural for one in self._watches}
        for one in self._watches:
            one.start()

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches)

    def problem(self) -> str:
        """What cannot be seen, in one sentence; nothing once all was listed and is followed."""
        return next((one.problem for one in self._watches if one.problem), "")

    def _listed(self, kind: Kind) -> None:
        self._waiting.discard(kind.plural)
        if not self._waiting and self._held_back:
            plans, self._held_back = self._held_back, {}
            for plan in plans.values():
                self._controller.plan_changed(plan)

    def _node(self, key: Key, value: Object | None) -> None:
        self._changed(self._cluster.set_node(key[1], value))

    def _pod(self, key: Key, value: Object | None) -> None:
        named = str(key[0]), key[1]
        self._controller.pod_changed(named, value)
        self._changed(self._cluster.set_pod(named, value))

    def _device(self, key: Key, value: Object | None) -> None:
        """A ResourceSlice, which has no namespace, or a ResourceClaim."""
        self._changed(self._cluster.set_device(key, value))

    def _plan(self, key: Key, value: Object | None) -> None:
        named = str(key[0]), key[1]
        if value is None:
            self._held_back.pop(key, None)
            self._controller.plan_deleted(named)
            return
        ours = self._answers(named[0])
        self._controller.plan_seen(value, ours=ours)
        if not ours:
            return
        if self._waiting:
            self._held_back[key] = value
        else:
            self._controller.plan_changed(value)

    def _changed(self, moved: bool) -> None:
        if moved:
            self._controller.cluster_changed()
