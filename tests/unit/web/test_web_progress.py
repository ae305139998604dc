"""A long question is answered at once with what is found so far, and computed once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from html import unescape

import pytest
from fastapi.testclient import TestClient

from guide.domain import Inventory, Plan, Recommendation
from guide.errors import TookTooLong
from guide.search.progress import Progress, Seen
from guide.search.recommend import recommend
from guide.web import engine, running
from guide.web.settings import Settings
from tests.web_questions import CHAT, NODES, client_of, url

ASKED = {**CHAT, "pool": ["A100-80GB:1:1"], "rps": "1"}


class Engine:
    """The engine, which waits before it says the end."""

    def __init__(self) -> None:
        self.searched, self.go_on = threading.Event(), threading.Event()
        self.begun = 0
        self.told: list[Progress] = []
        self.error: Exception | None = None

    def answered(self, plan: Plan, inventory: Inventory, seen: Seen) -> Recommendation:
        self.begun += 1

        def both(progress: Progress) -> None:
            self.told.append(progress)
            seen(progress)
            if progress.over:  # what helps is a longer search, which no test here waits for
                self.searched.set()

        found = recommend(plan, inventory, engine.catalog(), seen=both)
        self.searched.set()
        assert self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        return found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    found = Engine()
    monkeypatch.setattr(engine, "answered", found.answered)
    running.forget()
    yield found
    found.go_on.set()
    running.forget()


@pytest.fixture(scope="module")
def hasty() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES), patience_s=0.0) as client:
        yield client


def test_what_is_found_so_far_is_shown_until_the_answer_is_there(hasty: TestClient, slow: Engine):
    first = hasty.get(url(ASKED))
    assert first.status_code == 200
    assert "Working out which layouts may serve this" in first.text
    assert slow.searched.wait(30)
    page = hasty.get(url(ASKED))
    assert re.search(
        r"\d+ deployments? simulated so far, of \d+ layouts? that may serve", page.text
    )
    assert "The best so far" in page.text
    assert "Run " in page.text
    assert "A100" in page.text
    looks = re.search(r'<noscript><meta http-equiv="refresh" content="1; url=([^"]+)"', page.text)
    assert looks
    again = unescape(looks.group(1))
    assert again.startswith("/progress?")
    assert f'hx-get="{looks.group(1)}"' in page.text
    assert "Simulating" in hasty.get(again).text
    slow.go_on.set()
    running.begun(*next(iter(running._questions))).answer.result(30)
    there = hasty.get(again)
    assert there.status_code == 303
    assert hasty.get(there.headers["location"]).text.count('id="answer-title"') == 1
    assert slow.begun == 1
    last = slow.told[-1]
    assert last.best is not None
    assert last.simulated <= last.layouts * 20
    assert [p.simulated for p in slow.told] == sorted(p.simulated for p in slow.told)


def test_looking_at_what_nobody_asked_begins_nothing(hasty: TestClient, slow: Engine):
    there = hasty.get(url(ASKED, "/progress"))
    assert there.status_code == 303
    assert there.headers["location"].startswith("/?")
    assert hasty.get("/progress?ask=1").status_code == 303
    assert not slow.begun


def test_a_search_without_an_answer_says_that_it_looks_for_help(hasty: TestClient, slow: Engine):
    hopeless = {**ASKED, "ttft": "1"}
    hasty.get(url(hopeless))
    assert slow.searched.wait(30)
    page = hasty.get(url(hopeless))
    assert "none keeps every limit: looking for a change that would" in page.text
    assert "The best so far" not in page.text
    assert slow.told[-1].over


def test_looking_does_not_count_as_asking():
    client = client_of(Settings(nodes_file=NODES, answers_per_minute=1))  # its engine is not needed
    assert {client.get(url(ASKED, "/progress")).status_code for _ in range(3)} == {303}


def test_an_error_is_told_once_and_the_question_may_be_asked_again(hasty: TestClient, slow: Engine):
    slow.error = TookTooLong("this question takes too long")
    hasty.get(url(ASKED))
    slow.go_on.set()
    assert next(iter(running._questions.values())).answer.exception(30) is slow.error
    page = hasty.get(url(ASKED))
    assert page.status_code == 422
    assert "There is no answer" in page.text
    slow.error = None
    assert hasty.get(url(ASKED)).status_code == 200
    assert slow.begun == 2


def test_an_error_comes_to_where_the_answer_was_awaited(hasty: TestClient, slow: Engine):
    slow.error = engine.Busy("many questions are being worked at: ask again in a minute")
    hasty.get(url(ASKED))
    slow.go_on.set()
    assert next(iter(running._questions.values())).answer.exception(30) is slow.error
    page = hasty.get(url(ASKED))
    assert page.status_code == 503
    assert 'id="result"' in page.text  # what the waiting page takes out of it
