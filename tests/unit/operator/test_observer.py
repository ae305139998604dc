"""The observer with a cluster and a Prometheus made by hand: one failure does not spread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guide.catalog import load
from guide.errors import ClusterError, SpecError
from guide.live.expect import Expected
from guide.live.learn import Corrections, overlay, scoped
from guide.live.ledger import FILE, config_map
from guide.live.measured import Observation
from guide.live.prometheus import PrometheusError
from guide_operator.engine import Engine
from guide_operator.findings import LiveFinding
from guide_operator.observer import Observer
from guide_operator.settings import Settings
from guide_operator.work import Work
from tests.toy import question
from tests.unit.live.test_observe import EXPECTED, GOOD, KEY, SHOWN

CATALOG = load()
GROUP = {
    "pool": "p",
    "framework": "vLLM",
    "checkpoint": "m",
    "precision": "bf16",
    "kvCacheDtype": "auto",
    "tp": 1,
    "pp": 1,
    "replicas": 2,
    "loadShare": "1",
}


class Cluster:
    """Holds the ConfigMap; as a controller it knows some plans and what breaks for them."""

    def __init__(self, *names: str, breaks: dict[str, Exception] | None = None) -> None:
        self.held: dict[str, Any] | None = None
        self.works = [Work(_plan(name)) for name in names]
        self.breaks = breaks or {}
        self.ledger = Corrections()
        self.asked = 0
        self.load: Observation | Exception = GOOD

    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self.held

    def apply(self, value: dict[str, Any]) -> None:
        self.held = value

    def answered(self) -> list[Work]:
        return self.works

    async def question(self, work: Work) -> tuple[Any, Any]:
        problem = self.breaks.get(work.plan["metadata"]["name"])
        if problem is not None:
            raise problem
        return question(), None

    def found(self, work: Work, finding: LiveFinding) -> None:
        work.finding = finding

    def use(self, ledger: Corrections) -> None:
        self.ledger = ledger

    async def expect(self, *_: Any, namespace: str) -> Expected:
        del namespace
        factor = self.ledger.corrections[KEY].step if self.ledger.corrections else 0.0
        tpot = EXPECTED.tpot
        return replace(EXPECTED, tpot=replace(tpot, mean_s=tpot.mean_s * 2.718281828**factor))

    def observe_plans(self, window: str) -> dict[tuple[str, str], Observation]:
        load = self.load
        self.asked += 1
        if isinstance(load, Exception):
            raise load
        return defaultdict(lambda: load)


def _plan(name: str) -> dict[str, Any]:
    status = {**SHOWN["status"], "best": {"groups": [GROUP]}}
    return {"metadata": {**SHOWN["metadata"], "name": name}, "status": status}


def observer(cluster: Cluster, **settings: Any) -> Observer:
    given = Settings(prometheus_url="http://x", observe_s=1, window_s=5, **settings)
    found = Observer(given, cast("Any", cluster), cast("Any", cluster), cast("Any", cluster))
    found._prometheus = cast("Any", cluster)
    return found


def looks(found: Observer, times: int = 1) -> None:
    async def look() -> None:
        for _ in range(times):
            await found._look()

    asyncio.run(look())


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Observer, "_settling", lambda *_: None)


def reasons(cluster: Cluster) -> dict[str, str]:
    return {
        work.plan["metadata"]["name"]: work.finding.condition.reason
        for work in cluster.works
        if work.finding is not None
    }


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (SpecError("wrong"), "NotCompared"),
        (ClusterError("gone"), "NotCompared"),
        (ValueError("a bug"), "InternalError"),
    ],
)
def test_one_plan_that_fails_does_not_keep_others_from_being_compared(
    problem: Exception, reason: str
):
    cluster = Cluster("bad", "good", breaks={"bad": problem})
    looks(observer(cluster))
    assert reasons(cluster) == {"bad": reason, "good": "OutsideBandBriefly"}


def test_three_windows_that_agree_are_learnt_and_then_rest():
    cluster = Cluster("chat")
    looks(observer(cluster), 2)
    assert cluster.held is None
    cluster = Cluster("chat")
    looks(observer(cluster), 6)
    assert cluster.ledger.version == 1  # the next update waits for a new window
    assert 0 < cluster.ledger.corrections[KEY].step <= 0.25
    assert cluster.held == config_map(cluster.ledger, "guide-system")


def test_a_correction_of_the_future_keeps_nothing_from_being_learnt():
    cluster = Cluster("chat")
    found = observer(cluster)
    looks(found, 6)
    (first,) = cluster.ledger.corrections.values()
    cluster.ledger = replace(
        cluster.ledger, corrections={KEY: replace(first, updated_at="2999-01-01T00:00:00Z")}
    )
    cluster.held = config_map(cluster.ledger, "guide-system")
    looks(found, 4)  # of which the first one finds another ledger, so that its sample is dropped
    assert cluster.ledger.corrections[KEY].updates == first.updates + 1
    assert cluster.ledger.corrections[KEY].updated_at < "2999"


def test_jumps_of_the_wall_clock_neither_age_samples_nor_keep_them(
    monkeypatch: pytest.MonkeyPatch,
):
    moments = iter(datetime(2026, 1, day, tzinfo=UTC) for day in (2, 2, 9, 9, 1, 1, 5, 5))
    moved = SimpleNamespace(now=lambda _: next(moments), fromisoformat=datetime.fromisoformat)
    monkeypatch.setattr("guide_operator.observer.datetime", moved)
    cluster = Cluster("chat")
    looks(observer(cluster), 3)
    assert cluster.ledger.version == 1  # three samples, each of another day


def test_nothing_is_learnt_unasked_or_from_what_is_no_measure():
    quiet = Cluster("chat")
    looks(observer(quiet, learn=False), 6)
    overloaded = Cluster("chat")
    overloaded.load = replace(GOOD, preemptions=3)
    looks(observer(overloaded), 6)
    assert quiet.held is overloaded.held is None


def test_when_prometheus_is_down_the_correction_stays():
    cluster = Cluster("chat")
    found = observer(cluster)
    looks(found, 4)
    held = cluster.held
    cluster.load = PrometheusError("Prometheus is down")
    looks(found, 4)
    assert reasons(cluster) == {"chat": "PrometheusUnavailable"}
    assert cluster.held is held
    assert cluster.ledger.corrections


def test_a_damaged_config_map_changes_nothing(caplog: pytest.LogCaptureFixture):
    cluster = Cluster("chat")
    found = observer(cluster)
    looks(found, 4)
    good = cluster.ledger
    cluster.held = {"data": {FILE: "{"}}
    with caplog.at_level(logging.WARNING):
        looks(found, 4)
    assert cluster.ledger is good
    assert cluster.held == {"data": {FILE: "{"}}
    assert "--reset" in caplog.text


def test_a_thousand_plans_are_compared_within_seconds_by_one_look_at_prometheus():
    cluster = Cluster(*(f"p{n}" for n in range(1000)))
    began_s = time.monotonic()
    looks(observer(cluster))
    assert time.monotonic() - began_s < 10
    assert cluster.asked == 1
    assert set(reasons(cluster).values()) == {"OutsideBandBriefly"}


def test_a_namespace_that_learns_for_itself_moves_no_other():
    cluster = Cluster("chat")
    looks(observer(cluster, learn_by_namespace=True), 6)
    (key,) = cluster.ledger.corrections
    assert key == f"ml: {KEY}"
    assert scoped(cluster.ledger, "ml").corrections.keys() == {KEY}
    assert not scoped(cluster.ledger, "m").corrections
    engine = Engine(1, lambda _: None, by_namespace=True)
    engine.use(cluster.ledger)
    assert engine.ledger_of("ml").corrections
    assert overlay(CATALOG, engine.ledger_of("other")) is CATALOG
