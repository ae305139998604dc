"""Speculative decoding on the page: asked, answered in a table, refused at its field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from guide.spec import parse_plan
from guide.web.asking import form_of, plan_document
from guide.web.settings import Settings
from guide.web.state import from_query
from tests.web_questions import CHAT, NODES, client_of, field_error, url

PLAIN = {**CHAT, "rps": "1", "pool": ["H100-SXM:1:1"]}
ASKED = {**PLAIN, "specmethod": "NGram", "spectokens": "3", "specaccept": "60, 50"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def test_the_answer_compares_with_and_without(client: TestClient):
    page = client.get(url(ASKED)).text
    assert "Speculative decoding over the load, unmeasured here" in page
    assert "acceptance is your number" in page
    found = client.get(url(ASKED, "/download/recommendation.json")).json()
    assert found["speculation"]["method"] == "NGram"


def test_without_it_the_page_has_no_such_part(client: TestClient):
    assert "Speculative decoding over the load" not in client.get(url(PLAIN)).text


def test_a_plan_goes_into_the_form_and_back():
    document = plan_document(from_query(url(ASKED).partition("?")[2]), {})
    assert document["spec"]["workload"]["speculation"]["acceptancePercent"] == [60, 50]
    state, left_out = form_of(parse_plan({**document, "metadata": {"name": "chat"}}))
    assert not left_out
    assert state.values["specaccept"] == "60, 50"


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"specaccept": "60, 120"}, "specaccept", "at most 100"),
        ({"specaccept": "most"}, "specaccept", "whole number"),
        ({"specaccept": "9,8,7,6"}, "specmethod", "4 positions and tokens is 3"),
        ({"specmethod": "MTP"}, "specmethod", "needs a layer of multi-token prediction"),
        ({"specmethod": "DraftModel", "specdraft": "no/such"}, "specdraft", "not in the catalogue"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    client: TestClient, changes: dict[str, str], field: str, said: str
):
    assert said in field_error(client.get(url({**ASKED, **changes})).text, field)
