"""A replica that cannot see says so; one that only waits for its turn is ready."""

from __future__ import annotations

from typing import Any, cast

from guide.errors import ClusterError
from guide_operator.liveness import Liveness
from guide_operator.pulse import Pulse
from guide_operator.readiness import Readiness


class Server:
    """Answers, or fails with one sentence; counts how often it was asked."""

    def __init__(self) -> None:
        self.problem, self.asked = "", 0

    def look(self) -> None:
        self.asked += 1
        if self.problem:
            raise ClusterError(self.problem)


def replica() -> tuple[Readiness, Server, list[float]]:
    server, now = Server(), [1000.0]
    return Readiness(cast("Any", server), lambda: now[0]), server, now


def test_it_is_ready_once_its_watches_have_listed():
    found, _, _ = replica()
    assert found.problem() == "the watches have not started yet"
    found.watch_problem = lambda: "nodes have not been listed to the end yet"
    assert found.problem() == "nodes have not been listed to the end yet"
    found.watch_problem = lambda: ""
    assert found.problem() == ""


def test_one_that_waits_for_its_turn_has_nothing_to_see():
    found, _, _ = replica()
    assert found.problem()
    found.wait_for_turn()
    assert found.problem() == ""


def test_what_cannot_be_listed_is_named_until_it_can_be():
    found, server, now = replica()
    found.wait_for_turn()
    server.problem = "cannot list pods: the API server did not answer (timed out)"
    assert found.problem() == server.problem
    server.problem = ""
    assert found.problem()  # asked at most every ten seconds
    now[0] += 10
    assert found.problem() == ""
    assert server.asked == 2


def test_an_unreadable_lease_comes_first():
    found, server, _ = replica()
    found.lease_problem = lambda: "Lease x/guide: forbidden"
    assert found.problem() == "Lease x/guide: forbidden"
    assert server.asked == 0


def test_what_is_slow_but_goes_on_stays_young_and_what_hangs_grows_old():
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    now[0] = 1000
    assert pulse.age_s() == 0  # idle
    for _ in range(100):
        pulse.begin()
    for _ in range(99):
        now[0] += 50
        assert pulse.age_s() == 50
        pulse.end()
        assert pulse.age_s() == 0
    now[0] += 500
    assert pulse.age_s() == 500
    pulse.end()
    assert pulse.age_s() == 0


def test_a_part_that_does_not_come_on_is_named():
    ages = {"the queue of plans": 0.0, "the watch of pods": 601.0}
    alive = Liveness(600)
    for what in ages:
        alive.expect(what, lambda what=what: ages[what])
    assert alive.problem() == "the watch of pods did not come on for 601 s"
    ages["the watch of pods"] = 599
    assert alive.problem() == ""
