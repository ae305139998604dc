"""Replicas that a deleted autoscaler owns: nobody but the operator can take them over."""

from __future__ import annotations

from typing import Any, cast

import pytest

from guide.cluster.client import FieldConflict
from guide_operator.rollout import _put

HPA = ("kube-controller-manager", ".spec.replicas")
VALUE: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"namespace": "ml", "name": "chat-0"},
}


class Server:
    """Refuses what is not forced; remembers what was."""

    def __init__(self, *owners: tuple[str, str]) -> None:
        self.owners, self.forced = owners, 0

    def apply(self, value: Any, *, dry_run: bool, force: bool = False) -> Any:
        del dry_run
        if not force:
            raise FieldConflict("cannot apply", self.owners)
        self.forced += 1
        return value


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_it_left_behind_is_taken_over(dry_run: bool):
    server = Server(HPA)
    assert _put(cast("Any", server), VALUE, {}, frozenset(), dry_run=dry_run) is VALUE
    assert server.forced == 1


@pytest.mark.parametrize(
    "owners",
    [
        (("kubectl", ".spec.replicas"),),
        (("kube-controller-manager", ".spec.template"),),
        (HPA, ("kubectl", ".spec.strategy")),
    ],
)
def test_what_belongs_to_anybody_else_is_left_alone(owners: tuple[tuple[str, str], ...]):
    server = Server(*owners)
    with pytest.raises(FieldConflict):
        _put(cast("Any", server), VALUE, {}, frozenset(), dry_run=False)
    assert not server.forced


def test_an_autoscaler_that_is_there_keeps_what_it_set():
    server = Server(HPA)
    with pytest.raises(FieldConflict):
        _put(cast("Any", server), VALUE, {}, frozenset({"chat-0"}), dry_run=False)
    assert not server.forced
