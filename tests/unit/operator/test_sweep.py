"""Whatever was told and missed: after a look, exactly what is there is known, or it is said."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from guide.cluster.client import NotFound
from guide.errors import ClusterError
from guide_operator import sweep as module
from guide_operator.sweep import Key, Kind, Sweep

Object = dict[str, Any]


def node(name: str, uid: str = "1") -> Object:
    return {"metadata": {"name": name, "uid": uid}}


class Stage:
    """A kind of which a server holds some, kopf has told some, and the sweep looks."""

    def __init__(self, there: list[Object], told: list[Object], **options: Any) -> None:
        self.there, self.answer = there, None
        self.gone, self.restarts = list[Key](), 0
        self.kind = Kind("", "v1", "nodes", gone=self.gone.append, **options)
        for body in told:
            self.kind.tell(body)
        self.sweep = Sweep(cast("Any", self), 1, self._again)
        self.sweep.watch([self.kind])
        self.meanwhile = lambda: None

    def all_of(self, *kind: str) -> list[Object]:
        del kind
        self.meanwhile()
        if self.answer is not None:
            raise self.answer
        return self.there

    def _again(self) -> None:
        self.restarts += 1

    def look(self) -> str:
        asyncio.run(self.sweep._look(self.kind))
        return self.sweep.problem()


def test_what_vanished_unseen_is_dropped_once():
    stage = Stage([node("b")], [node("a"), node("b")])
    assert stage.look() == ""
    assert stage.gone == [(None, "a")]
    assert stage.look() == ""
    assert len(stage.gone) == 1


def test_what_was_made_again_under_the_same_name_went_first():
    stage = Stage([node("a", "2")], [node("a", "1")])
    assert stage.look() == "1 of 1 nodes are not seen yet"
    assert stage.gone == [(None, "a")]
    stage.kind.tell(node("a", "2"))
    assert stage.look() == ""


def test_what_comes_while_it_is_listed_is_not_judged_by_that_list():
    stage = Stage([], [])
    stage.meanwhile = lambda: stage.kind.tell(node("new"))
    assert stage.look() == ""
    assert not stage.gone
    stage = Stage([], [node("a", "1")])
    stage.meanwhile = lambda: stage.kind.tell(node("a", "2"))
    stage.look()
    assert not stage.gone


def test_a_late_word_of_a_deletion_forgets_no_successor():
    stage = Stage([node("a", "2")], [node("a", "2")])
    stage.kind.forget(node("a", "1"))
    assert stage.look() == ""


def test_a_kind_that_comes_is_watched_anew_and_one_that_goes_takes_its_objects_along():
    stage = Stage([], [node("a")])
    stage.answer = NotFound("cannot list nodes")
    assert stage.look() == "cannot list nodes: is its definition installed?"
    assert stage.gone == [(None, "a")]
    assert not stage.restarts
    stage.answer = None
    assert stage.look() == ""
    assert stage.restarts == 1


def test_one_that_may_be_missing_is_no_problem():
    stage = Stage([], [], optional=True)
    stage.answer = NotFound("cannot list nodes")
    assert stage.look() == ""


def test_a_refusal_drops_nothing_and_is_told():
    stage = Stage([], [node("a")])
    stage.answer = ClusterError("cannot list nodes: forbidden")
    assert stage.look() == "cannot list nodes: forbidden"
    assert not stage.gone


def test_a_watch_that_does_not_tell_is_opened_anew(monkeypatch: pytest.MonkeyPatch):
    stage, now = Stage([node("a")], []), [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    assert stage.look() == "1 of 1 nodes are not seen yet"
    now[0] += 100
    assert stage.look()
    assert not stage.restarts
    now[0] += 30
    assert stage.look()
    assert stage.restarts == 1
    now[0] += 30  # the new watch has its time
    assert stage.look()
    assert stage.restarts == 1


def test_what_was_told_before_still_counts_when_kopf_watches_anew():
    stage = Stage([node("b")], [node("a"), node("b")])
    again = Kind("", "v1", "nodes", gone=stage.gone.append)
    stage.sweep.watch([again])
    stage.kind = again
    stage.look()
    assert stage.gone == [(None, "a")]


def test_an_operator_with_nothing_to_do_grows_no_older_however_long_it_waits(
    monkeypatch: pytest.MonkeyPatch,
):
    """Its age is that of a look, not of the time between two: else a long interval would fail the
    probe of every idle operator."""
    stage = Stage([node("a")], [node("a")])
    now_s = 0.0
    monkeypatch.setattr(stage.sweep.looks, "_clock", lambda: now_s)
    ages: list[float] = []

    def look_slowly() -> None:
        nonlocal now_s
        now_s += 40
        ages.append(stage.sweep.looks.age_s())

    stage.meanwhile = look_slowly

    async def run() -> None:
        task = asyncio.create_task(stage.sweep.run())
        while not ages:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(run())
    now_s += 10_000
    assert ages[0] == 40  # one that hangs is seen
    assert stage.sweep.looks.age_s() == 0


def test_a_kind_that_came_late_is_asked_for_again_soon_and_then_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
):
    """kopf looks once which kinds there are: an API server that starts may not name all yet."""
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    stage = Stage([], [], optional=True)
    stage.answer = NotFound("no such kind")
    assert stage.look() == ""
    stage.answer, stage.there = None, [node("a")]
    waits: list[float] = []
    asked_s = now_s
    for second in range(600):
        now_s = float(second)
        before = stage.restarts
        stage.look()
        if stage.restarts > before:
            waits.append(now_s - asked_s)
            asked_s = now_s
    assert waits[0] == 0  # at once
    assert waits[1] < 15
    assert waits == sorted(waits)
    assert waits[-1] > 100
