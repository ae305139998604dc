"""Whatever is listed, told, forgotten and refused: in the end exactly what is there is known."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from guide.cluster import following
from guide.cluster.client import NotFound
from guide.cluster.following import Heard, Kind
from guide.cluster.refusals import Forgotten
from guide.errors import ClusterError
from guide_operator import watching
from guide_operator.watching import Key, Watch

KIND = Kind("", "v1", "nodes")
Object = dict[str, Any]


def node(name: str, uid: str = "1") -> Object:
    return {"metadata": {"name": name, "uid": uid}}


class Stage:
    """A watch, fed by a script of lists, events and failures; what it knows in the end."""

    def __init__(self, script: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.script, self.known, self.lists = script, dict[Key, Object](), 0
        self.over, self.told = threading.Event(), list[tuple[str, bool]]()
        monkeypatch.setattr(watching, "everything", lambda api, kind: self._next_list())
        monkeypatch.setattr(watching, "changes", lambda api, kind, version: self._next_changes())
        for name in ("_PAUSE_S", "_RESCAN_S", "_LONGEST_PAUSE_S"):
            monkeypatch.setattr(watching, name, 0.0)

    def _step(self) -> Any:
        if not self.script:
            self.over.set()
            threading.Event().wait(0.05)
            return Heard([], "9")
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def _next_list(self) -> tuple[list[Object], str]:
        found = self._step()
        assert isinstance(found, list)
        return found, "1"

    def _next_changes(self) -> Iterator[Heard]:
        found = self._step()
        if isinstance(found, Heard):
            yield found

    def take(self, key: Key, value: Any) -> None:
        self.told.append((key[1], value is not None))
        if value is None:
            self.known.pop(key, None)
        else:
            self.known[key] = value

    def play(self, *, optional: bool = False) -> Watch:
        async def run() -> Watch:
            client = cast("Any", type("Client", (), {"api": None}))
            watch = Watch(client, KIND, self.take, self._listed, optional=optional)
            watch.start()
            await asyncio.to_thread(self.over.wait, 20)
            await asyncio.sleep(0.05)
            return watch

        return asyncio.run(run())

    def _listed(self) -> None:
        self.lists += 1

    def names(self) -> set[str]:
        return {key[1] for key in self.known}


def heard(*events: tuple[Object, bool]) -> Heard:
    return Heard(list(events), "2")


def test_what_a_list_lacks_is_gone(monkeypatch: pytest.MonkeyPatch):
    """It was deleted while the API server had forgotten where the watch was."""
    stage = Stage([[node("a"), node("b")], Forgotten("gone"), [node("b")]], monkeypatch)
    watch = stage.play()
    assert stage.names() == {"b"}
    assert watch.problem == ""
    assert stage.lists == 2


def test_what_was_made_again_meanwhile_went_first(monkeypatch: pytest.MonkeyPatch):
    stage = Stage([[node("a", "1")], Forgotten("gone"), [node("a", "2")]], monkeypatch)
    stage.play()
    assert stage.told == [("a", True), ("a", False), ("a", True)]


def test_events_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch):
    events = heard((node("a"), True), (node("b"), False), (node("c"), False), (node("c"), True))
    stage = Stage([[node("a")], events], monkeypatch)
    stage.play()
    assert stage.names() == {"b"}


def test_a_kind_that_is_not_there_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    script = [NotFound("cannot list nodes"), NotFound("cannot list nodes"), [node("a")]]
    stage = Stage(script, monkeypatch)
    assert stage.play().problem == ""
    assert stage.names() == {"a"}


def test_a_kind_that_goes_takes_its_objects_along(monkeypatch: pytest.MonkeyPatch):
    script: list[Any] = [[node("a")], Forgotten("gone"), *[NotFound("cannot list nodes")] * 3]
    stage = Stage(script, monkeypatch)
    monkeypatch.setattr(watching, "_RESCAN_S", 1.0)
    monkeypatch.setattr(Stage, "_step", _then_missing)
    watch = stage.play()
    assert stage.names() == set()
    assert watch.problem == "cannot list nodes: is its definition installed?"


def _then_missing(stage: Stage) -> Any:
    if len(stage.script) == 1:
        stage.over.set()
        raise stage.script[0]
    found = stage.script.pop(0)
    if isinstance(found, Exception):
        raise found
    return found


def test_one_that_may_be_missing_is_no_problem(monkeypatch: pytest.MonkeyPatch):
    stage = Stage([NotFound("cannot list nodes")], monkeypatch)
    monkeypatch.setattr(Stage, "_step", _then_missing)
    assert stage.play(optional=True).problem == ""
    assert stage.lists >= 1  # plans need not wait for it


def test_a_refusal_is_told_until_it_is_over(monkeypatch: pytest.MonkeyPatch):
    stage = Stage([ClusterError("cannot list nodes: forbidden")], monkeypatch)
    monkeypatch.setattr(Stage, "_step", _then_missing)
    watch = stage.play()
    assert watch.problem == "cannot list nodes: forbidden"
    assert stage.lists == 0


def test_one_odd_object_hides_no_other(monkeypatch: pytest.MonkeyPatch):
    stage = Stage([[node("a"), node("odd"), node("b")]], monkeypatch)
    taken = stage.take

    def take(key: Key, value: Any) -> None:
        if key[1] == "odd":
            raise ValueError("odd")
        taken(key, value)

    stage.take = take
    assert stage.play().problem == ""
    assert stage.names() == {"a", "b"}


class Answer:
    """What the client library returns: a stream in pieces that do not end where lines do."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.closed = pieces, False

    def stream(self) -> Iterator[bytes]:
        yield from self.pieces

    def close(self) -> None:
        self.closed = True


def line(kind: str, value: Object) -> bytes:
    return json.dumps({"type": kind, "object": value}).encode() + b"\n"


def test_a_watch_is_read_across_pieces_and_ends_where_it_was_cut(monkeypatch: pytest.MonkeyPatch):
    one, two = node("a"), node("b")
    one["metadata"]["resourceVersion"] = "7"
    mark: Object = {"metadata": {"resourceVersion": "8"}}
    text = line("ADDED", one) + line("BOOKMARK", mark) + line("DELETED", two)
    answer = Answer(text[:20], text[20:], text[:30])
    monkeypatch.setattr(following, "_asking", lambda api, kind: lambda **options: answer)
    (found,) = following.changes(cast("Any", None), KIND, "1")
    assert found.events == [(one, False), (two, True)]
    assert found.version == "8"
    assert answer.closed


@pytest.mark.parametrize(("code", "problem"), [(410, Forgotten), (500, ClusterError)])
def test_an_error_in_a_watch_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, code: int, problem: type[Exception]
):
    answer = Answer(line("ERROR", {"code": code, "message": "too old resource version"}))
    monkeypatch.setattr(following, "_asking", lambda api, kind: lambda **options: answer)
    with pytest.raises(problem, match="too old resource version") as caught:
        list(following.changes(cast("Any", None), KIND, "1"))
    assert type(caught.value) is problem
