"""The plans page: what it says of plans, whatever their status holds, and plans created from it."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from kubernetes.client import ApiClient, Configuration

from guide.cluster.client import ClusterClient
from guide.cluster.refusals import Forbidden, NotFound, Refused, Stale, Unauthenticated
from guide.errors import ClusterError
from guide.spec import InferencePlan
from guide.web import creating, plans
from guide.web.asking import form_of, plan_document
from guide.web.cluster import dashboard
from guide.web.settings import Settings
from guide.web.state import State, from_query, pack
from tests.cluster_of_plans import Cluster, plan
from tests.llama_config import LLAMA
from tests.web_questions import CHAT, HOSTILE, NODES, client_of, url

OURS = {"sec-fetch-site": "same-origin"}
TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"
FORM = {"namespace": "ml", "name": "mine", "token": TOKEN}


@pytest.mark.parametrize(
    ("conditions", "status", "kind", "words"),
    [
        ((), {}, "wait", "not answered yet"),
        ((("Ready", "True"),), {}, "yes", "ready"),
        ((("Ready", "True"),), {"observedGeneration": 1}, "wait", "changed, not answered yet"),
        ((("Ready", "False"), ("Reconciling", "True")), {}, "wait", "in progress"),
        ((("Stalled", "True"), ("Feasible", "False")), {}, "no", "infeasible"),
        ((("Stalled", "True"), ("Feasible", "Unknown")), {}, "no", "needs a person"),
        ((("Ready", "True"), ("PredictionDrift", "True")), {}, "warn", "drifts"),
        ((("Ready", "True"), ("PredictionDrift", "False")), {}, "yes", "ready"),
    ],
)
def test_how_a_plan_stands(
    conditions: tuple[tuple[str, str], ...], status: dict[str, Any], kind: str, words: str
):
    found = plans.standing(plan("chat", *conditions, **status))
    assert (found.kind, found.words) == (kind, words)


def test_a_plan_leads_to_its_dashboard_where_there_is_one():
    at = "https://grafana.example/g/"
    board = "https://grafana.example/g/d/guide-plan?var-namespace=ml&var-plan=a.b"
    assert dashboard(at, "ml", "a.b") == board
    assert dashboard("", "ml", "a.b") == ""


def test_plans_that_need_a_look_come_first(page: TestClient, cluster: Cluster):
    cluster.held = [
        plan("b", ("Ready", "True")),
        plan("a", ("Ready", "True")),
        plan("z", ("Stalled", "True")),
        plan("y", ("Ready", "True"), ("PredictionDrift", "True")),
        plan("x"),
    ]
    text = page.get("/plans").text
    assert re.findall(r'href="/plans/ml/(\w)"', text) == ["z", "y", "x", "a", "b"]
    assert "5 plans" in text


def test_a_cluster_without_plans_says_how_to_begin(page: TestClient):
    text = page.get("/plans").text
    assert "Nobody has asked for anything yet" in text
    assert "<table" not in text


def test_a_pod_that_does_not_start_is_quoted(page: TestClient, cluster: Cluster):
    found = plan("chat", ("Ready", "False"), ("Stalled", "True"), ("Feasible", "True"))
    why = 'Pod ml/chat-0-x: container server: CreateContainerConfigError: secret "t" not found'
    for condition in found["status"]["conditions"][:2]:
        condition["message"] = why
    cluster.held = [found]
    assert f"<p>{why}</p>" in unescape(page.get("/plans/ml/chat").text)


@pytest.mark.parametrize(
    "status",
    [
        {"summary": HOSTILE, "best": [1], "observed": 7, "notes": HOSTILE},
        {"summary": {"gpu": HOSTILE, "hourlyUSD": "free"}, "notes": [HOSTILE]},
        {"best": {"predicted": {"ttftSeconds": {"p95": "nan", "interval90": {"lower": []}}}}},
        {"observed": {"at": HOSTILE, "ttftP95Seconds": HOSTILE, "predicted": []}},
        {"conditions": ["text", {"type": HOSTILE, "status": HOSTILE, "message": HOSTILE}]},
    ],
)
def test_a_strange_status_is_text(page: TestClient, cluster: Cluster, status: dict[str, Any]):
    cluster.held = [plan("chat", **status)]
    for path in ("/plans", "/plans/ml/chat"):
        shown = page.get(path)
        assert shown.status_code == 200
        assert "<script>alert" not in shown.text


def test_a_plan_of_another_version_is_shown_without_a_link(page: TestClient, cluster: Cluster):
    newer = plan("chat", ("Ready", "True"))
    newer["spec"]["quantum"] = True
    cluster.held = [newer]
    text = page.get("/plans/ml/chat").text
    assert "cannot read the plan" in text
    assert "Open as a question" not in text


def test_a_plan_opens_as_a_question(page: TestClient, cluster: Cluster):
    cluster.held = [plan()]
    text = unescape(page.get("/plans/ml/chat").text)
    (query,) = re.findall(r'href="/\?([^"]+)"', text)
    state = from_query(query)
    assert state.source == "cluster"
    asked = plan_document(state, {})["spec"]
    spec = plan()["spec"]
    assert asked["slo"] == spec["slo"]
    assert asked["workload"]["inputTokens"] == spec["workload"]["inputTokens"]
    assert "<code>spec.deployment.tokenSecretRef.name</code>" in text  # the form has no such field


def test_changes_that_help_an_infeasible_plan_are_questions(page: TestClient, cluster: Cluster):
    helps = {"field": "spec.slo.ttftP95Milliseconds", "from": "20", "to": "89"}
    cluster.held = [plan("chat", ("Stalled", "True"), relaxations=[helps, HOSTILE, {"to": "x"}])]
    text = unescape(page.get("/plans/ml/chat").text)
    ((query, words),) = re.findall(r'href="/\?([^"]+)">([^<]*instead of[^<]*)<', text)
    assert words == "First token within: 89 ms instead of 20"
    state = from_query(query)
    assert state.ask
    assert (state.source, state.values["ttft"]) == ("cluster", "89")


def test_form_and_plan_say_the_same():
    state = from_query(url({**CHAT, "usd": "12.5", "framework": "vLLM", "prefix": "30"})[2:])
    written = InferencePlan.model_validate(plan_document(state, {}))
    assert form_of(written) == (State(values=state.values, model=state.model), ())


def test_without_a_cluster_there_are_no_plans():
    with client_of(Settings(nodes_file=NODES)) as client:
        assert client.get("/plans").status_code == 404
        assert client.post(url(CHAT, "/create"), data=FORM, headers=OURS).status_code == 404
        assert 'href="/plans"' not in client.get("/").text
        assert "create-title" not in client.get(url(CHAT), headers=OURS).text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotFound("cannot list"), "install the chart"),
        (Forbidden("cannot list inferenceplans: 403"), "Cannot list inferenceplans"),
        (ClusterError("the API server did not answer"), "The API server did not answer."),
    ],
)
def test_a_list_that_cannot_be_read_is_told(
    page: TestClient, cluster: Cluster, error: ClusterError, words: str
):
    cluster.refusal = error
    shown = page.get("/plans")
    assert shown.status_code == 503
    assert words in shown.text
    cluster.refusal = None
    assert page.get("/plans").status_code == 200


def test_what_is_created_is_the_plan_of_the_answer(page: TestClient, cluster: Cluster):
    sent = page.post(url(CHAT, "/create"), data=FORM, headers=OURS)
    assert sent.status_code == 303
    ((token, made),) = cluster.created
    assert token == TOKEN
    downloaded = yaml.safe_load(page.get(url(CHAT, "/download/plan.yaml")).text)
    assert made["metadata"] == {"namespace": "ml", "name": "mine"}
    assert made["spec"] == downloaded["spec"]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"token": ""}, "token", "Paste a token"),
        ({"token": "two words"}, "token", "no bearer token"),
        ({"token": "a\r\nHost: x"}, "token", "no bearer token"),
        ({"token": "ä"}, "token", "no bearer token"),
        ({"token": "x" * 20_000}, "token", "no bearer token"),
        ({"name": "Not a name"}, "name", "not a valid"),
        ({"namespace": ""}, "namespace", "at least 1 character"),
    ],
)
def test_a_form_that_is_wrong_reaches_no_cluster(
    page: TestClient, cluster: Cluster, changes: dict[str, str], field: str, words: str
):
    sent = page.post(url(CHAT, "/create"), data={**FORM, **changes}, headers=OURS)
    assert sent.status_code == 422
    said = re.search(rf'id="e-c-{field}">(.*?)</span>', sent.text)
    assert said
    assert words in unescape(said[1])
    assert cluster.created == []
    if changes.get("token"):
        assert changes["token"] not in sent.text


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Unauthenticated("no"), 401, "wrong or has expired"),
        (Forbidden("cannot create: 403"), 403, "Cannot create: 403."),
        (NotFound("no"), 404, "no namespace ml"),
        (Stale("no"), 409, "a plan mine in ml already"),
        (Refused("cannot create: spec.x is wrong"), 422, "Cannot create: spec.x is wrong."),
        (ClusterError("the API server did not answer"), 503, "did not answer"),
    ],
)
def test_each_refusal_has_its_sentence(
    page: TestClient, cluster: Cluster, error: ClusterError, status: int, words: str
):
    cluster.refusal = error
    sent = page.post(url(CHAT, "/create"), data=FORM, headers=OURS)
    assert sent.status_code == status
    assert words in unescape(sent.text)
    assert "answer-title" in sent.text  # the answer stays
    assert TOKEN not in sent.text


@pytest.mark.parametrize(
    ("headers", "query", "words"),
    [({}, {}, creating.OPEN_WIRE), (OURS, {"config": pack(json.dumps(LLAMA))}, creating.PASTED)],
    ids=["plain HTTP", "pasted config"],
)
def test_no_form_where_a_token_could_be_read_or_the_plan_is_incomplete(
    page: TestClient, headers: dict[str, str], query: dict[str, str], words: str
):
    text = unescape(page.get(url({**CHAT, **query}), headers=headers).text)
    assert words in text
    assert 'name="token"' not in text


def test_a_loaded_again_refusal_is_the_answer(page: TestClient):
    again = page.get(url(CHAT, "/create"))
    assert again.status_code == 303
    assert again.headers["location"] == url(CHAT)


def test_a_token_goes_alone(monkeypatch: pytest.MonkeyPatch):
    settings = Configuration(
        host="https://api.example", api_key={"authorization": "Bearer ours"}, username="us"
    )
    settings.ssl_ca_cert, settings.cert_file, settings.key_file = "ca", "cert", "key"
    settings.refresh_api_key_hook = lambda _: None
    monkeypatch.setattr("kubernetes.client.rest.RESTClientObject.__init__", lambda *_, **__: None)
    theirs = ClusterClient(ApiClient(settings)).with_token("theirs").api
    kept = theirs.configuration
    assert theirs.default_headers["authorization"] == "Bearer theirs"
    assert (kept.host, kept.ssl_ca_cert) == ("https://api.example", "ca")
    assert (kept.cert_file, kept.key_file, kept.username) == (None, None, None)
    assert (kept.api_key, kept.refresh_api_key_hook) == ({}, None)
    assert kept.auth_settings() == {}
