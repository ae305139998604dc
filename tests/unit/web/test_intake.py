"""People, examples and links with a memory: what becomes of them in the form and its address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from guide.errors import SpecError
from guide.web.intake import reasoning, requests_per_s, taken_in, tokens
from guide.web.permalink import since, stamp
from guide.web.settings import Settings
from guide.web.state import MOST_COMPARED, State, from_pairs, from_query
from tests.handmade import GROUP, INFEASIBLE, RECOMMENDATION, recommendation
from tests.web_questions import NODES, client_of, field_error

FIFTY = from_query("people=50&every=45&rps=8&users=3&input=1024")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings()) as client:
        yield client


def sent(client: TestClient, **form: str) -> dict[str, list[str]]:
    """The question of the address to which a form leads."""
    answer = client.post("/", data=form)
    assert answer.status_code == 303, answer.text
    return parse_qs(urlsplit(answer.headers["location"]).query)


def test_fifty_people_are_a_rate_with_its_reasoning():
    found = taken_in(FIFTY, {"counted": ":"})
    assert found.values["rps"] == "1.11"
    assert found.values["users"] == ""
    said = "50 people, each with a message every 45 s: 50 / 45 s = 1.11 requests per second."
    assert reasoning(found) == said
    assert from_query(found.query).people == "50"


@pytest.mark.parametrize(
    ("people", "every", "rate"),
    [("1000", "1", "1000"), ("3", "7200", "0.000417"), ("1,200", "60", "20"), ("2", "3", "0.667")],
)
def test_a_rate_has_three_digits_and_no_exponent(people: str, every: str, rate: str):
    assert requests_per_s(State(people=people, every=every)) == rate


def test_a_rate_that_is_typed_takes_the_place_of_people():
    counted = taken_in(FIFTY, {"counted": ":"})
    assert taken_in(counted, {"counted": "50:45"}) == counted
    typed = taken_in(counted.changed(rps="9"), {"counted": "50:45"})
    assert (typed.values["rps"], typed.people, reasoning(typed)) == ("9", "", "")
    more = taken_in(replace(counted, people="90"), {"counted": "50:45"})
    assert more.values["rps"] == "2"


@pytest.mark.parametrize(("people", "every"), [("many", "45"), ("50", ""), ("0", "1"), ("5", "-1")])
def test_people_that_are_no_number_are_told_beside_their_field(
    client: TestClient, people: str, every: str
):
    with pytest.raises(SpecError):
        requests_per_s(State(people=people, every=every))
    page = client.post("/", data={"people": people, "every": every, "counted": ":"})
    place = "every" if people in ("50", "5") else "people"
    assert field_error(page.text, place) == "Write a number above 0, such as 50."
    assert f'href="#f-{place}"' in page.text


def test_the_form_works_people_out_without_asking(client: TestClient):
    found = sent(client, people="50", every="45", counted=":", work="1", source="rent")
    assert found["rps"] == ["1.11"]
    assert "ask" not in found


def test_an_example_is_counted_and_kept_nowhere(client: TestClient):
    found = sent(client, prompt_text="word " * 400, input95="3000", answer_text="ä" * 4, work="1")
    assert (found["input"], found["output"]) == (["500"], ["2"])
    assert not {"input95", "prompt_text", "answer_text"} & set(found)
    assert tokens("x") == 1


def test_a_preset_forgets_the_people(client: TestClient):
    assert "people" not in sent(client, preset="rag", people="50", every="45", counted=":")


def test_who_has_no_cluster_rents(client: TestClient):
    assert 'id="source-rent" checked' in client.get("/").text
    assert "Embeddings are not supported" in client.get("/").text
    with client_of(Settings(nodes_file=NODES)) as beside_a_cluster:
        assert 'id="source-pools" checked' in beside_a_cluster.get("/").text


def test_a_link_tells_whether_its_answer_still_holds():
    digest = "sha256:" + "ab" * 32
    then = replace(RECOMMENDATION, catalog_digest=digest)
    same = since(stamp(then), then)
    assert same == (True, "The same answer as when this link was made (catalogue abababababab).")
    other = replace(
        recommendation(replace(GROUP, replicas=4)), catalog_digest="sha256:" + "cd" * 32
    )
    assert since(stamp(then), other) == (
        False,
        "The answer differs today: when this link was made, it was 6 x H100-SXM for $17.94 "
        "(catalogue abababababab; the catalogue is cdcdcdcdcdcd today).",
    )
    none = replace(INFEASIBLE, catalog_digest=digest)
    found = since(stamp(none), then)
    assert found is not None
    assert "it was no deployment" in found[1]


@pytest.mark.parametrize("made_up", ["", "x", "ab~none~", "abababababab~<b>~1.00", "a" * 300])
def test_nothing_made_up_in_a_link_is_shown(made_up: str):
    assert since(made_up, RECOMMENDATION) is None


def test_several_runs_travel_in_a_link_but_not_without_end():
    state = from_pairs([("compare", f"rps={n}") for n in range(9)])
    assert len(state.compare) == MOST_COMPARED
    assert from_query(state.query) == state
    assert state.alone.compare == ()
