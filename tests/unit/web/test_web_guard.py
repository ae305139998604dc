"""What the web page refuses, and what it sends whatever comes in."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from guide.cli.app import app as cli
from guide.web import app as web
from guide.web import running
from guide.web.guard import BODY_LIMIT_BYTES
from guide.web.settings import Settings
from guide.web.state import pack, unpack
from tests.web_questions import CHAT, HOSTILE, NODES, ROOT, SLOW, client_of, field_error, url


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model": ""}, "model", "Name the model"),
        ({"model": "meta-llama/Lama-3.1-8B"}, "model", "did you mean"),
        ({"input": "many"}, "input", "Must be a whole number"),
        ({"input": "0"}, "input", "at least 1"),
        ({"input": ""}, "input", "fill this in"),
        ({"input95": "10"}, "input95", "below the mean"),
        ({"rps": "-1"}, "rps", "no positive decimal number"),
        ({"rps": "", "users": ""}, "rps", "one of the four"),
        ({"users": "3"}, "rps", "one of the four"),
        ({"ttft": "1e9"}, "ttft", "whole number"),
        ({"usd": "free"}, "usd", "no positive decimal number"),
        ({"gpus": "0"}, "gpus", "at least 1"),
        ({"prefer": "Speed"}, "prefer", "must be"),
        ({"prefix": "200"}, "prefix", "at most 100"),
        ({"context": "10"}, "context", "mean input and output"),
        ({"name": "Not a name"}, "name", "not a valid"),
        ({"pool": "Abacus:1:8"}, "p0-gpu", "in no catalogue"),
        ({"pool": ["H100-SXM:1:8", "L4:0:1"]}, "p1-nodes", "from 1 to 1,000"),
        ({"pool": "L4:1:99"}, "p0-per", "from 1 to 16"),
        ({"pool": "L4:1:1:cheap"}, "p0-price", "price in US dollars"),
        ({"pool": []}, "p0-gpu", "Choose a GPU"),
        ({"source": "nodes"}, "nodes", "upload a node list"),
        ({"source": "nodes", "nodes": "AAAA"}, "nodes", "damaged"),
        ({"source": "nodes", "nodes": pack("text")}, "nodes", "damaged"),
        ({"source": "nodes", "nodes": pack([1, 2])}, "nodes", "damaged"),
        ({"config": pack([1])}, "config", "damaged"),
        ({"config": "AAAA"}, "config", "damaged"),
    ],
)  # fmt: skip
def test_each_field_says_what_is_wrong(
    client: TestClient, changes: dict[str, Any], field: str, words: str
):
    page = client.get(url({**CHAT, **changes}))
    assert page.status_code == 422
    assert words.lower() in field_error(page.text, field).lower()
    assert 'aria-invalid="true"' in page.text
    assert "answer-title" not in page.text


def test_hostile_text_is_text(client: TestClient):
    places = ("model", "input", "rps", "usd", "prefer", "name", "image", "compare", "source")
    for place in places:
        page = client.get(url({**CHAT, place: HOSTILE}))
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
    page = client.get(url({**CHAT, "pool": f"{HOSTILE[:40]}:1:8"}))
    assert "<script>alert" not in page.text
    nodes = yaml.safe_load(NODES.read_text())
    for node in nodes["items"]:
        node["metadata"]["name"] = HOSTILE
        node["metadata"]["labels"]["nvidia.com/gpu.product"] = HOSTILE
    sent = client.post(
        "/",
        data={**{k: v for k, v in CHAT.items() if k != "pool"}, "source": "nodes"},
        files={"nodes_file": ("n.yaml", yaml.safe_dump(nodes))},
    )
    page = client.get(sent.headers["location"])
    assert page.status_code == 200
    assert "&lt;script&gt;" in page.text
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("text", ["", "nonsense", "[1, 2]", "{", "kind: Pod", "a: &a [*a]"])
def test_an_upload_that_is_no_node_list_is_told(client: TestClient, text: str):
    sent = client.post(
        "/", data={"model": CHAT["model"]}, files={"nodes_file": ("n.yaml", text or " ")}
    )
    assert sent.status_code == 422
    assert field_error(sent.text, "nodes")


def test_a_damaged_or_swollen_token_is_refused():
    value = {"a": [1, "x"]}
    assert unpack(pack(value)) == value
    bomb = pack("0" * 30_000_000)
    for token in ("x", pack(value)[:-4], bomb, "é", gzip.compress(b"{}").hex()):
        with pytest.raises(web.SpecError):
            unpack(token)


def test_too_large_a_body_is_refused(client: TestClient):
    large = b"x" * (BODY_LIMIT_BYTES + 1)
    sent = client.post("/", files={"nodes_file": ("n.yaml", large)})
    assert sent.status_code == 413
    assert "MiB" in sent.text

    def trickle() -> Iterator[bytes]:
        for _ in range(BODY_LIMIT_BYTES // 65536 + 2):
            yield b"x" * 65536

    for path in ("/", "/api/recommend"):
        kind = {
            "content-type": "application/json"
            if "api" in path
            else "application/x-www-form-urlencoded"
        }
        assert client.post(path, content=trickle(), headers=kind).status_code == 413


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "plan"),
        ({"plan": {"kind": "InferencePlan"}}, "plan.apiVersion"),
        ({"plan": 1, "extra": 2}, "extra"),
    ],
)
def test_api_says_what_is_wrong(client: TestClient, body: dict[str, Any], field: str):
    refused = client.post("/api/recommend", json=body)
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == field
    assert refused.json()["error"]["message"]


def test_api_names_the_field_of_the_plan(client: TestClient):
    plan = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    plan["spec"]["model"]["name"] = "no/such"
    refused = client.post("/api/recommend", json={"plan": plan})
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == "spec.model.name"


def test_serve_names_a_file_that_is_missing(tmp_path: Path):
    ran = CliRunner().invoke(cli, ["serve", "--nodes", str(tmp_path / "none.yaml")])
    assert "there is no such file" in str(ran.exception)


def test_a_comparison_with_nonsense_leaves_the_answer_alone(client: TestClient):
    page = client.get(url({**CHAT, "compare": "nonsense"}))
    assert page.status_code == 200
    assert "nothing beside this one" in page.text


def test_every_answer_carries_the_headers(client: TestClient):
    for path in ("/", url(CHAT), url({**CHAT, "model": ""}), "/static/guide.css", "/nowhere",
                 "/openapi.json"):  # fmt: skip
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_needs_what_the_policy_forbids(client: TestClient):
    for path in ("/", url(CHAT), url(SLOW), url({**CHAT, "input": ""}), "/nowhere"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)", page)
        assert not re.search(r"<[^>]*\s(?:style|on[a-z]+)=", page)
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


def test_an_engine_error_is_an_apology_with_an_id(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    running.forget()
    monkeypatch.setattr("guide.web.engine.answered", broken)
    with client_of(Settings(nodes_file=NODES)) as client:
        page = client.get(url(CHAT))
        plan = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
        document = client.post("/api/recommend", json={"plan": plan})
    for answer in (page, document):
        assert answer.status_code == 500
        assert "secret detail" not in answer.text
        assert "Traceback" not in answer.text
        number = re.search(r"id ([0-9a-f]{8})", answer.text)
        assert number
        assert number[1] in caplog.text
        assert "content-security-policy" in answer.headers


def test_too_many_questions_must_wait():
    with client_of(Settings(answers_per_minute=2)) as client:
        codes = [client.get(url({**CHAT, "model": ""})).status_code for _ in range(3)]
        assert codes == [422, 422, 429]
        refused = client.post("/api/recommend", json={})
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        assert client.get("/").status_code == 200  # reading the form is free


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch):
    def gone() -> None:
        raise web.ClusterError("the API server did not answer")

    monkeypatch.setattr("guide.web.nodes.cluster_objects", gone)
    with client_of(Settings(cluster=True)) as client:
        page = client.get(url({**CHAT, "source": "cluster"}))
        assert "The API server did not answer." in page.text
        plan = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
        assert client.post("/api/recommend", json={"plan": plan}).status_code == 503


def test_twenty_users_at_once(client: TestClient):
    def visit(number: int) -> tuple[int, list[str]]:
        page = client.get(url({**CHAT, "rps": str(5 + number), "pool": "H100-SXM:2:8"}))
        return page.status_code, re.findall(r'id="f-rps"[^>]*value="(\d+)"', page.text)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(visit, range(20)))
    assert answers == [(200, [str(5 + number)]) for number in range(20)]
