"""Who leads: expiry by monotonic time since the last change that was seen, whatever clocks say."""

from __future__ import annotations

from typing import Any, cast

import pytest

from guide.cluster.refusals import Stale
from guide_operator import leadership
from guide_operator.leadership import LIFETIME_S, Leadership


class Server:
    """Holds the Lease and refuses a write that did not see its newest version."""

    def __init__(self) -> None:
        self.version, self.spec = 1, dict[str, Any]()
        self.stale = False

    def lease(self, namespace: str, name: str) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": self.spec}

    def apply(self, value: dict[str, Any]) -> None:
        if self.stale or value["metadata"]["resourceVersion"] != str(self.version):
            raise Stale("changed")
        self.version, self.spec = self.version + 1, value["spec"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(leadership.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(leadership.os, "_exit", codes.append)
    return codes


def replica(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> Leadership:
    found = Leadership(cast("Any", server), "x", "guide", name)
    monkeypatch.setattr(found, "_live_until", lambda _: setattr(found, "_end", object()))
    return found


def test_a_lease_is_taken_only_when_it_was_not_renewed_for_its_lifetime(
    clock: list[float], ended: list[int], monkeypatch: pytest.MonkeyPatch
):
    server = Server()
    one, two = (replica(server, name, monkeypatch) for name in ("one", "two"))
    assert one._take()
    assert not two._take()
    clock[0] += LIFETIME_S - 1
    assert one._take()  # renewed
    assert not two._take()
    clock[0] += LIFETIME_S - 1
    assert not two._take()  # counted from the renewal
    clock[0] += 1
    assert two._take()
    assert not ended
    one._take()
    assert ended  # it finds another leader and ends


def test_a_lease_with_a_renewal_of_tomorrow_expires_all_the_same(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
):
    server = Server()
    server.spec = {"holderIdentity": "gone", "renewTime": "2999-01-01T00:00:00.000000Z"}
    two = replica(server, "two", monkeypatch)
    assert not two._take()
    clock[0] += LIFETIME_S
    assert two._take()


def test_who_is_slower_does_not_lead(clock: list[float], monkeypatch: pytest.MonkeyPatch):
    server = Server()
    server.stale = True
    assert not replica(server, "one", monkeypatch)._take()


def test_a_lease_that_was_given_back_is_free_at_once(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
):
    server = Server()
    one, two = (replica(server, name, monkeypatch) for name in ("one", "two"))
    assert one._take()
    assert one._take(holder="")
    assert two._take()
