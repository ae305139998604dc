"""What the operator holds of a plan that waits: all of it, in little memory."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from guide.catalog import load
from guide.report.status import to_status
from guide.search.recommend import recommend
from guide_operator.controller import Controller
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Decision
from guide_operator.settings import Settings
from guide_operator.work import Work
from tests.unit.operator.test_operator import CATALOG, INVENTORY, PLAN_ASKED, plan_object

STATUS = to_status(recommend(PLAN_ASKED, INVENTORY, CATALOG))


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
    assert work.whole() == plan
    assert held_bytes([work.plan, work._told]) < held_bytes(plan) / 3


def test_a_plan_without_an_answer_is_whole_too():
    for plan in (plan_object(), plan_object() | {"status": {}}, {}):
        assert {**Work(plan).whole(), "metadata": 0} == {**plan, "metadata": 0}


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
