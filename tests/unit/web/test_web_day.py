"""A day on the page: three numbers or a recorded one, its bounds, errors at their field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from guide.spec import parse_plan
from guide.web.asking import form_of, plan_document
from guide.web.settings import Settings
from guide.web.state import from_query
from tests.web_questions import CHAT, NODES, client_of, field_error, url

PLAIN = {key: value for key, value in CHAT.items() if key not in {"rps", "users"}}
RECORDED = {**PLAIN, "pool": ["H100-SXM:1:4"], "dayparts": "0, 0.5; 2 1.25"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def test_a_recorded_day_goes_into_the_form_and_back():
    document = plan_document(from_query(url(RECORDED).partition("?")[2]), {})
    written = parse_plan({**document, "metadata": {"name": "chat"}})
    assert written.spec.workload.day_profile is not None
    assert written.spec.workload.day_profile.to_domain().recorded_per_s == (0.0, 0.5, 2.0, 1.25)
    state, left_out = form_of(written)
    assert not left_out
    assert state.values["dayparts"] == "0, 0.5, 2, 1.25"


def test_its_bounds_are_in_the_answer(client: TestClient):
    assert "Scale bounds over the day" in client.get(url(RECORDED)).text


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"dayparts": "1, two"}, "dayparts", "is no positive decimal number"),
        ({"dayparts": "0, 0"}, "daypeak", "without arrivals"),
        ({"daylow": "1"}, "daypeak", "low, mean and peak, or"),
    ],
)
def test_what_is_wrong_stands_at_its_field(
    client: TestClient, changes: dict[str, str], field: str, said: str
):
    assert said in field_error(client.get(url({**RECORDED, **changes})).text, field)
