"""What the operator holds of a plan that waits: all of it, in little memory."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import weakref
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from guide.catalog import load
from guide.live.learn import Corrections
from guide.report.status import to_status
from guide.search.recommend import recommend
from guide_operator.controller import Controller
from guide_operator.deciding import _MOST_LOOKS
from guide_operator.engine import Answer
from guide_operator.metrics import Metrics, PlanCollector
from guide_operator.plan_metrics import METRICS
from guide_operator.reconcile import Decision
from guide_operator.settings import Settings
from guide_operator.work import Work
from tests.unit.operator.test_operator import CATALOG, INVENTORY, PLAN_ASKED, plan_object

FOUND = recommend(PLAN_ASKED, INVENTORY, CATALOG)
FEASIBLE = {"type": "Feasible", "status": "True"}
STATUS = to_status(FOUND) | {"conditions": [FEASIBLE]}


def held_bytes(value: Any) -> int:
    parts: list[Any] = []
    if isinstance(value, dict):
        parts = [part for pair in cast("dict[str, Any]", value).items() for part in pair]
    elif isinstance(value, list):
        parts = cast("list[Any]", value)
    return sys.getsizeof(value) + sum(map(held_bytes, parts))


def test_a_plan_that_waits_is_whole_in_a_third_of_its_memory():
    plan = plan_object() | {"status": STATUS}
    written = {"managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]}
    work = Work(plan | {"metadata": plan["metadata"] | written})
    held: Any = work.plan["status"]
    assert {**work.plan, "status": dict(held)} == plan
    assert len(held) == len(STATUS)
    small = held_bytes([{**work.plan, "status": held._read}, held._told]) + len(held._packed)
    assert small < held_bytes(plan) / 3


def test_what_is_held_of_a_plan_has_the_metrics_of_all_of_it():
    plan = plan_object() | {"status": STATUS}
    whole, held = PlanCollector(), PlanCollector()
    whole.show(plan)
    held.show(Work(plan).plan)
    assert whole._plans == held._plans
    assert len(held._plans["ml", "chat"].values) > 30


def test_plans_of_the_same_deployment_hold_their_labels_once():
    """Seven words beside each number are eight times as much as the number."""
    collector = PlanCollector()
    plan = plan_object() | {"status": STATUS}
    for name in ("one", "other"):
        sent = json.loads(json.dumps(plan | {"metadata": plan["metadata"] | {"name": name}}))
        collector.show(sent)
    one, other = (collector._plans["ml", name] for name in ("one", "other"))
    assert one.labels is other.labels
    found = [sample for metric in collector.collect() for sample in metric.samples]
    assert {sample.labels["plan"] for sample in found} == {"one", "other"}
    rows = [row.samples(plan) for row in METRICS]
    expected = Counter((value, labels[2:]) for samples in rows for labels, value in samples)
    for name in ("one", "other"):
        got = [s for s in found if s.labels["plan"] == name]
        assert Counter((s.value, tuple(s.labels.values())[2:]) for s in got) == expected


def test_a_status_that_a_person_wrote_stops_nothing():
    for best in ({}, {"predicted": "fast"}, {"groups": []}):
        collector = PlanCollector()
        collector.show(plan_object() | {"status": {"best": best, "conditions": [FEASIBLE]}})
        assert not [sample for metric in collector.collect() for sample in metric.samples]


def test_plans_share_the_words_of_their_keys():
    """Each object that the API server sends brings keys of its own."""
    one, other = (Work(json.loads(json.dumps(plan_object() | {"status": STATUS}))) for _ in "12")
    pairs = [
        (one.plan["spec"]["workload"], other.plan["spec"]["workload"]),
        (one.plan["status"]["summary"], other.plan["status"]["summary"]),
        (one.plan["status"]["conditions"][0], other.plan["status"]["conditions"][0]),
    ]
    for mine, theirs in pairs:
        assert all(a is b for a, b in zip(mine, theirs, strict=True))


def test_a_plan_without_an_answer_is_whole_too():
    for plan in (plan_object(), plan_object() | {"status": {}}, {}):
        assert {**Work(plan).plan, "metadata": 0} == {**plan, "metadata": 0}


def test_the_answer_to_a_write_does_not_hide_an_edit_that_came_before_it():
    """The task goes on with the edit, not with the plan as it was when it was asked."""

    async def generation_held() -> int:
        controller: Controller

        class Client:
            def write_status(self, *_: Any, **__: Any) -> dict[str, Any]:
                edit = plan_object()
                edit["metadata"] |= {"generation": 4, "resourceVersion": "8"}
                loop.call_soon_threadsafe(controller.plan_changed, edit, lambda *_: None)
                loop.call_soon_threadsafe(came.set)
                asyncio.run_coroutine_threadsafe(came.wait(), loop).result()
                answer = plan_object() | {"status": STATUS}
                answer["metadata"] |= {"resourceVersion": "9"}
                return answer

        loop, came, done = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        held: list[int] = []
        settings = Settings()
        client, nothing = cast("Any", Client()), cast("Any", None)
        controller = Controller(settings, client, load(), nothing, Metrics())

        async def decided(work: Work, plan: Any, **_: Any) -> Decision:
            if not held:
                held.append(0)
                return Decision(status=STATUS)
            held.append(plan["metadata"]["generation"])
            done.set()
            return Decision()

        controller._decider.decide = decided
        controller.plan_changed(plan_object(), lambda *_: None)
        async with asyncio.timeout(30):
            await done.wait()
        for work in controller._work.values():
            assert work.task is not None
            work.task.cancel()
        return held[-1]

    assert asyncio.run(generation_held()) == 4


def test_who_waits_for_the_engine_holds_no_config_map():
    """Thousands may: it is read when the answer is there."""
    happened: list[str] = []

    class Client:
        def config_map(self, *_: Any) -> None:
            happened.append("read")

        def apply(self, *_: Any) -> None:
            happened.append("written")

        def write_status(self, *_: Any, **__: Any) -> dict[str, Any]:
            return plan_object() | {"status": STATUS}

    class WaitingEngine:
        async def answer(self, *_: Any, **__: Any) -> Answer:
            await asyncio.sleep(0.1)
            happened.append("answered")
            return Answer(recommendation=FOUND, running=None)

        def ledger_of(self, _: str) -> Corrections:
            return Corrections()

    async def work() -> None:
        client, engine = cast("Any", Client()), cast("Any", WaitingEngine())
        controller = Controller(Settings(), client, CATALOG, engine, Metrics())
        controller.plan_changed(plan_object(), lambda *_: None)
        async with asyncio.timeout(30):
            while "written" not in happened:
                await asyncio.sleep(0.01)
        for work in controller._work.values():
            assert work.task is not None
            work.task.cancel()

    asyncio.run(work())
    assert happened == ["answered", "read", "written"]


def test_of_all_plans_that_look_again_few_hold_their_config_map(monkeypatch: pytest.MonkeyPatch):
    """A node goes, and thousands compare what they wrote; reading is faster than comparing."""

    class ConfigMap(dict[str, Any]):
        """One that can be counted."""

    read: list[weakref.ref[ConfigMap]] = []
    counts: list[int] = []

    class Client:
        def config_map(self, *_: Any) -> ConfigMap:
            found = ConfigMap(metadata={})
            read.append(weakref.ref(found))
            counts.append(sum(one() is not None for one in read))
            return found

    def compared(*_: Any) -> bool:
        time.sleep(0.002)
        return True

    monkeypatch.setattr("guide_operator.reconcile.settled", lambda *_: True)
    monkeypatch.setattr("guide_operator.reconcile.intact", compared)

    async def look() -> list[Decision]:
        client = cast("Any", Client())
        engine = cast("Any", SimpleNamespace(ledger_of=lambda _: Corrections()))
        controller = Controller(Settings(), client, CATALOG, engine, Metrics())
        plan = plan_object() | {"status": STATUS}
        looks = (controller._decider.decide(Work(plan), plan, asked=True) for _ in range(100))
        return await asyncio.gather(*looks)

    assert asyncio.run(look()) == [Decision()] * 100
    assert len(counts) == 100
    assert max(counts) <= _MOST_LOOKS
