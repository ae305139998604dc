"""Prompts that begin alike on the page: asked, compared by router, refused at its field."""

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
ASKED = {**PLAIN, "prefixgroups": "20", "prefixshared": "500", "prefixrouter": "PrefixAware"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def test_the_answer_compares_routers(client: TestClient):
    page = client.get(url(ASKED)).text
    assert "Prefix hits by router, unmeasured here" in page
    found = client.get(url(ASKED, "/download/recommendation.json")).json()
    assert found["prefixes"]["router"] == "PrefixAware"


def test_without_them_the_page_has_no_such_part(client: TestClient):
    assert "Prefix hits by router" not in client.get(url(PLAIN)).text


def test_a_plan_goes_into_the_form_and_back():
    asked = {**ASKED, "prefixturns": "2"}
    document = plan_document(from_query(url(asked).partition("?")[2]), {})
    assert document["spec"]["workload"]["prefixes"] == {
        "groups": 20,
        "sharedTokens": 500,
        "turns": 2,
        "router": "PrefixAware",
    }
    state, left_out = form_of(parse_plan({**document, "metadata": {"name": "chat"}}))
    assert not left_out
    assert {name: state.values[name] for name in asked if name.startswith("prefix")} == {
        name: value for name, value in asked.items() if name.startswith("prefix")
    }


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"prefixgroups": "many"}, "prefixgroups", "whole number"),
        ({"prefixgroups": ""}, "prefixgroups", "Fill this in"),
        ({"prefixgroups": "0"}, "prefixgroups", "at least 1"),
        ({"prefixshared": "1000000"}, "prefixgroups", "must be below"),
        ({"prefixturns": "65"}, "prefixturns", "at most 64"),
        ({"prefix": "30"}, "prefixgroups", "remove prefixCacheHitPercent"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    client: TestClient, changes: dict[str, str], field: str, said: str
):
    assert said in field_error(client.get(url({**ASKED, **changes})).text, field)
