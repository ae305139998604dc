"""Questions are worked at in processes, within a bound, and nobody waits for a huge one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from guide.web import engine, running
from guide.web.asking import plan_document
from guide.web.settings import Settings
from guide.web.state import from_query
from tests.web_questions import CHAT, NODES, client_of, url

# No layout meets 1 ms, so changes that would help are searched for among thousands of GPUs.
HUGE = {
    **CHAT,
    "ttft": "1",
    "usd": "20",
    "users": "20000",
    "rps": "",
    "pool": [f"{gpu}:1000:{per}" for per in (1, 4) for gpu in ("H200", "A100-80GB", "L40S", "L4")],
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        assert client.get(url(CHAT)).status_code == 200  # the processes are there
        yield client


def test_a_question_that_takes_too_long_is_ended_and_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "LONGEST_S", 0.05)
    page = client.get(url(HUGE))
    assert page.status_code == 422
    assert "There is no answer" in page.text
    assert "takes more than 0.05 seconds of computing: ask for fewer GPUs" in page.text
    assert 'value="20000"' in page.text  # the question stays
    assert client.get(url(HUGE, "/download/REVIEW.md")).status_code == 422


def test_the_json_api_tells_it_too(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    plan = plan_document(from_query(url(HUGE)[2:]), {})
    rows = [pool.split(":") for pool in HUGE["pool"]]
    pools = [{"gpu": g, "nodes": int(n), "gpusPerNode": int(per)} for g, n, per in rows]
    monkeypatch.setattr(engine, "LONGEST_S", 0.05)
    refused = client.post("/api/recommend", json={"plan": plan, "pools": pools})
    assert refused.status_code == 422
    assert "takes more than" in refused.json()["error"]["message"]


def test_after_an_end_there_are_processes_again(client: TestClient):
    assert client.get(url({**CHAT, "rps": "7"})).status_code == 200


def test_others_do_not_wait_for_a_huge_question(client: TestClient):
    running.forget()

    def timed(fields: dict[str, Any]) -> float:
        began = time.perf_counter()
        assert client.get(url(fields)).status_code in (200, 422)
        return time.perf_counter() - began

    with ThreadPoolExecutor(2) as pool:
        huge = pool.submit(timed, HUGE)
        small = pool.submit(timed, {**CHAT, "rps": "6"})
        small.result()
        assert not huge.done()


def test_who_answered_last_is_asked_next(client: TestClient):
    """It remembers what it simulated, and a what-if has most of that in common."""
    assert len({engine._ask(os.getpid) for _ in range(4)}) == 1


def test_a_process_that_dies_is_told_and_replaced(client: TestClient):
    with pytest.raises(engine.Busy, match="ask again"):
        engine._ask(os._exit, 3)
    assert client.get(url({**CHAT, "rps": "5"})).status_code == 200


def test_nobody_waits_for_ever(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "WAIT_S", 0.2)
    with ThreadPoolExecutor(engine.WORKERS) as pool:
        for _ in range(engine.WORKERS):
            pool.submit(engine._ask, time.sleep, 2)
        time.sleep(0.2)
        page = client.get(url({**CHAT, "rps": "4"}))
        assert client.get("/healthz").status_code == 200
    assert page.status_code == 503
    assert "ask again in a minute" in page.text


def test_pages_have_threads_left_however_many_ask(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "_room", threading.BoundedSemaphore(1))
    monkeypatch.setattr(engine, "LONGEST_S", 5)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(engine._ask, time.sleep, 1)
        time.sleep(0.2)
        began = time.perf_counter()
        assert client.get(url({**CHAT, "rps": "3"})).status_code == 503
        assert client.get("/").status_code == 200
        assert time.perf_counter() - began < 0.7  # at once


def test_what_is_at_work_when_a_server_stops_is_no_answer_of_the_next():
    asked = url({**HUGE, "usd": "21"})
    with client_of(Settings(nodes_file=NODES), patience_s=0.0) as stopped:
        assert "Working out which layouts" in stopped.get(asked).text
    with client_of(Settings(nodes_file=NODES), patience_s=0.0) as started:
        assert started.get(asked).status_code == 200
