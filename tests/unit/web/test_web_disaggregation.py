"""Prefill and decode apart on the page: asked in one field, answered in a table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from guide.spec import parse_plan
from guide.web.asking import form_of, plan_document
from guide.web.settings import Settings
from guide.web.state import from_query
from tests.web_questions import CHAT, NODES, client_of, field_error, url

PLAIN = {**CHAT, "rps": "1", "pool": ["H100-SXM:1:2"]}
ASKED = {**PLAIN, "apart": "400"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def test_the_answer_compares_two_pools(client: TestClient):
    page = client.get(url(ASKED)).text
    assert "Prefill and decode apart: no go, unmeasured here" in page
    found = client.get(url(ASKED, "/download/recommendation.json")).json()
    assert found["disaggregation"]["verdict"] == "NoGo"


def test_a_plan_goes_into_the_form_and_back():
    document = plan_document(from_query(url(ASKED).partition("?")[2]), {})
    assert document["spec"]["disaggregation"] == {"networkGbitPerSecond": 400}
    state, left_out = form_of(parse_plan({**document, "metadata": {"name": "chat"}}))
    assert not left_out
    assert state.values["apart"] == "400"


def test_what_is_wrong_stands_at_its_field(client: TestClient):
    assert "whole number" in field_error(client.get(url({**ASKED, "apart": "fast"})).text, "apart")
    refused = client.get(url({**ASKED, "rps": "", "users": "4"})).text
    assert "open loop" in refused
