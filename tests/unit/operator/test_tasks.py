"""The task of a plan goes on, whatever happens to it and to those who began it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from guide.catalog import load
from guide.cluster.client import FieldConflict, Stale
from guide.errors import ClusterError, TookTooLong
from guide_operator.controller import Controller
from guide_operator.metrics import Metrics
from guide_operator.reconcile import Decision
from guide_operator.settings import Settings
from tests.unit.operator.test_operator import plan_object

AWAY = ClusterError("the API server says 500")


class Cluster:
    """A client of which the first writes fail."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.written = list(failures), asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def write_status(self, namespace: str, name: str, status: Any, **_: Any) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        self.loop.call_soon_threadsafe(self.written.set)
        return plan_object() | {"status": status}


def controller_of(client: Cluster, decide: Callable[[], Decision]) -> Controller:
    nothing = cast("Any", None)
    settings = Settings(max_backoff_s=1)
    found = Controller(settings, cast("Any", client), load(), nothing, Metrics())

    async def decided(*_: Any, **__: Any) -> Decision:
        return decide()

    found._decider.decide = decided
    return found


def told(*_: Any) -> None:
    """Nobody listens to events."""


async def written(client: Cluster) -> None:
    async with asyncio.timeout(30):
        await client.written.wait()


@pytest.mark.parametrize(
    "first", [FieldConflict("x", ()), TookTooLong("x"), AWAY, Stale("x"), ValueError("x")], ids=type
)
@pytest.mark.parametrize("second", [AWAY, Stale("x")], ids=type)
def test_no_failure_ends_the_task_of_a_plan(first: Exception, second: Exception):
    """Also where what is to be told of a failure cannot be written."""

    async def scene() -> None:
        client, answers = Cluster(second), [first]

        def decide() -> Decision:
            if answers:
                raise answers.pop()
            return Decision(status={"conditions": []})

        controller = controller_of(client, decide)
        controller.plan_changed(plan_object(), told)
        (work,) = controller._work.values()
        await written(client)
        assert work.task is not None
        assert not work.task.done()
        work.task.cancel()

    asyncio.run(scene())


def test_a_task_that_was_ended_with_its_watch_begins_anew():
    """kopf cancels what was begun under a watch when that ends, and lists all plans anew."""

    async def scene() -> None:
        client = Cluster()
        controller = controller_of(client, lambda: Decision(status={"conditions": []}))
        plan = plan_object()
        controller.plan_changed(plan, told)
        await written(client)
        (work,) = controller._work.values()
        assert work.task is not None
        work.task.cancel()
        await asyncio.gather(work.task, return_exceptions=True)
        client.written.clear()
        controller.plan_changed(plan, told)
        await written(client)
        assert list(controller._work.values()) == [work]
        work.task.cancel()

    asyncio.run(scene())
