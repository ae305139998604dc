"""A replica that cannot see says so; one that only waits for its turn is ready."""

from __future__ import annotations

from typing import Any, cast

from guide.errors import ClusterError
from guide_operator.readiness import Readiness


class Server:
    """Answers, or fails with one sentence; counts how often it was asked."""

    def __init__(self) -> None:
        self.problem, self.plans, self.asked = "", False, 0

    def look(self) -> bool:
        self.asked += 1
        if self.problem:
            raise ClusterError(self.problem)
        return self.plans


def replica() -> tuple[Readiness, Server, list[float]]:
    server, now = Server(), [1000.0]
    return Readiness(cast("Any", server), lambda: now[0]), server, now


def test_it_is_ready_once_its_watches_run():
    found, _, _ = replica()
    assert found.problem() == "the watches have not started yet"
    found.started.set()
    assert found.problem() == ""


def test_a_plan_that_kopf_holds_back_tells_of_a_watch_that_has_not_listed():
    found, server, _ = replica()
    found.started.set()
    server.plans = True
    assert "have not been listed" in found.problem()
    found.told.set()
    assert found.problem() == ""


def test_one_that_waits_for_its_turn_has_nothing_to_see():
    found, server, _ = replica()
    server.plans = True
    found.wait_for_turn(True)
    assert found.problem() == ""
    found.wait_for_turn(False)
    assert found.problem()


def test_what_cannot_be_listed_is_named_until_it_can_be():
    found, server, now = replica()
    found.started.set()
    server.problem = "cannot list pods: the API server did not answer (timed out)"
    assert found.problem() == server.problem
    server.problem = ""
    assert found.problem()  # asked at most every ten seconds
    now[0] += 10
    assert found.problem() == ""
    assert server.asked == 2


def test_an_unreadable_lease_comes_first():
    found, server, _ = replica()
    found.started.set()
    found.lease_problem = lambda: "Lease x/guide: forbidden"
    assert found.problem() == "Lease x/guide: forbidden"
    assert server.asked == 0
