"""The web page without a browser: what it accepts, refuses, escapes, sends and computes."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import yaml
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from guide.cli.app import app as cli
from guide.web import app as web
from guide.web.guard import BODY_LIMIT_BYTES
from guide.web.settings import Settings
from guide.web.state import State, from_query, pack, unpack
from tests.llama_config import LLAMA

ROOT = Path(__file__).resolve().parents[2]
NODES = ROOT / "examples/nodes.yaml"
CHAT: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "input": "1024",
    "input95": "3000",
    "output": "256",
    "output95": "700",
    "rps": "8",
    "ttft": "1000",
    "tpot": "50",
    "pool": ["H100-SXM:2:8", "A100-80GB:2:8", "L4:3:1:0.8"],
    "ask": "1",
}
SLOW = {**CHAT, "ttft": "20"}
HOSTILE = "\"><script>alert('x')</script><img src=x onerror=alert(1)>"


def client_of(settings: Settings) -> TestClient:
    return TestClient(web.create(settings), raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def url(fields: dict[str, Any], path: str = "/") -> str:
    return f"{path}?{urlencode(fields, doseq=True)}"


def field_error(page: str, name: str) -> str:
    found = re.search(rf'id="e-{re.escape(name)}">(.*?)</span>', page)
    return unescape(found.group(1)) if found else ""


def by_cli(folder: Path, fields: dict[str, Any], client: TestClient) -> dict[str, Any]:
    """What `guide plan -o json` says to the plan and nodes that the page offers to download."""
    for name in ("plan.yaml", "nodes.yaml"):
        (folder / name).write_bytes(client.get(url(fields, f"/download/{name}")).content)
    words = ["plan", "-f", f"{folder}/plan.yaml", "--nodes", f"{folder}/nodes.yaml", "-o", "json"]
    return json.loads(CliRunner().invoke(cli, words).stdout)


# --- the answer ---


def test_first_page_holds_the_form_alone(client: TestClient):
    page = client.get("/")
    assert page.status_code == 200
    assert 'name="model"' in page.text
    assert "answer-title" not in page.text
    labels = set(re.findall(r'<label for="([^"]+)"', page.text))
    visible = re.findall(r"<(?:input|select|textarea)(?![^>]*(?:hidden|radio))[^>]*>", page.text)
    assert {re.search(r'id="([^"]+)"', each)[1] for each in visible} == labels  # pyright: ignore


def test_answer_is_that_of_the_command_line(client: TestClient, tmp_path: Path):
    page = client.get(url(CHAT))
    assert page.status_code == 200
    written = by_cli(tmp_path, CHAT, client)
    assert client.get(url(CHAT, "/download/recommendation.json")).json() == written
    best = written["best"]
    assert f"${best['usdPerHour']:.2f}/h" in page.text
    assert f"{best['predicted']['ttftSeconds']['p95'] * 1000:.0f} ms" in page.text


def test_api_gives_the_same_document(client: TestClient, tmp_path: Path):
    plan = yaml.safe_load(client.get(url(CHAT, "/download/plan.yaml")).text)
    pools = [
        {"gpu": "H100-SXM", "nodes": 2, "gpusPerNode": 8},
        {"gpu": "A100-80GB", "nodes": 2, "gpusPerNode": 8},
        {"gpu": "L4", "nodes": 3, "gpusPerNode": 1, "usdPerGPUHour": 0.8},
    ]
    answer = client.post("/api/recommend", json={"plan": plan, "pools": pools})
    assert answer.status_code == 200
    assert answer.json() == by_cli(tmp_path, CHAT, client)


def test_api_answer_fits_its_own_description(client: TestClient):
    body = {"plan": yaml.safe_load((ROOT / "examples/chat.yaml").read_text())}
    answer = client.post("/api/recommend", json=body)  # this server's cluster
    assert answer.status_code == 200
    schema = client.get("/openapi.json").json()["components"]["schemas"]["RecommendationBody"]
    assert set(schema["required"]) <= set(answer.json())
    nodes = yaml.safe_load(NODES.read_text())["items"]
    assert client.post("/api/recommend", json={**body, "nodes": nodes}).json() == answer.json()


def test_uploaded_nodes_travel_in_the_url(client: TestClient, tmp_path: Path):
    form = {k: v for k, v in CHAT.items() if k not in ("pool", "ask")}
    sent = client.post(
        "/", data={**form, "source": "nodes"}, files={"nodes_file": NODES.read_bytes()}
    )
    assert sent.status_code == 303
    target = sent.headers["location"]
    assert len(target) < 8000
    found = client.get("/download/recommendation.json?" + urlsplit(target).query).json()
    plan = tmp_path / "plan.yaml"
    plan.write_bytes(client.get("/download/plan.yaml?" + urlsplit(target).query).content)
    words = ["plan", "-f", str(plan), "--nodes", str(NODES), "-o", "json"]
    assert found == json.loads(CliRunner().invoke(cli, words).stdout)


def test_pasted_config_takes_the_place_of_the_catalogue(client: TestClient):
    form = {**{k: v for k, v in CHAT.items() if k != "pool"}, "model": "me/mine"}
    pool = {"pool_gpu": "H100-SXM", "pool_nodes": "1", "pool_per": "8", "pool_price": ""}
    unknown = client.get(url({**form, "pool": "H100-SXM:1:8"}))
    assert unknown.status_code == 422
    assert "is not in the catalogue" in field_error(unknown.text, "model")
    sent = client.post("/", data={**form, **pool, "config_text": json.dumps(LLAMA)})
    page = client.get(sent.headers["location"])
    assert page.status_code == 200
    assert "me/mine" in page.text
    broken = client.post("/", data={**form, **pool, "config_text": "{no json"})
    page = client.get(broken.headers["location"])
    assert "not valid JSON" in field_error(page.text, "config")


def test_relaxations_are_links_that_work(client: TestClient):
    page = client.get(url(SLOW))
    assert page.status_code == 200
    links = re.findall(r'class="button" href="(/\?[^"]+)">([^<]+ instead of [^<]+)<', page.text)
    assert links
    for link, _ in links:
        found = client.get("/download/recommendation.json?" + unescape(link)[2:])
        assert found.json()["feasible"] is True


def test_comparison_shows_both_runs(client: TestClient):
    here = client.get(url({**CHAT, "rps": "40", "compare": urlencode(CHAT, doseq=True)}))
    assert here.status_code == 200
    table = here.text[here.text.index("compare-title") :]
    assert re.search(r"<td>Requests per second[^<]*</td><td>40</td><td>8</td>", table)


def test_downloads_are_what_render_writes(client: TestClient, tmp_path: Path):
    by_cli(tmp_path, CHAT, client)
    words = ["render", "-f", f"{tmp_path}/plan.yaml", "--nodes", f"{tmp_path}/nodes.yaml"]
    assert CliRunner().invoke(cli, [*words, "--out", f"{tmp_path}/out"]).exit_code == 0
    archive = client.get(url(CHAT, "/download/manifests.zip"))
    assert archive.headers["content-disposition"] == 'attachment; filename="manifests.zip"'
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        packed = {name.removeprefix("plan/"): files.read(name) for name in files.namelist()}
    assert packed == {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir()}
    assert client.get(url(CHAT, "/download/REVIEW.md")).content == packed["REVIEW.md"]
    kinds = [
        d["kind"]
        for d in yaml.safe_load_all(client.get(url(CHAT, "/download/manifests.yaml")).text)
    ]
    assert "Deployment" in kinds
    assert "Service" in kinds
    assert client.get(url(CHAT, "/download/secrets")).status_code == 404


@pytest.mark.parametrize("name", ["chat", "rag", "code", "batch"])
def test_presets_fill_a_form_that_has_an_answer(client: TestClient, name: str):
    pool = {"pool_gpu": "H100-SXM", "pool_nodes": "4", "pool_per": "8", "pool_price": ""}
    sent = client.post("/", data={"preset": name, "model": CHAT["model"], **pool})
    query = urlsplit(sent.headers["location"]).query
    assert "ask" not in parse_qs(query)
    found = client.get(f"/download/recommendation.json?{query}").json()
    assert found["feasible"] is True


def test_equal_questions_have_equal_links():
    one = from_query(urlencode(CHAT, doseq=True))
    two = from_query(urlencode(dict(reversed(CHAT.items())), doseq=True))
    assert one.query == two.query
    assert from_query(one.query) == one


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model": ""}, "model", "Name the model"),
        ({"model": "meta-llama/Lama-3.1-8B"}, "model", "did you mean"),
        ({"input": "many"}, "input", "Must be a whole number"),
        ({"input": "0"}, "input", "at least 1"),
        ({"input": ""}, "input", "required"),
        ({"input95": "10"}, "input95", "below the mean"),
        ({"rps": "-1"}, "rps", "no positive decimal number"),
        ({"rps": "", "users": ""}, "rps", "one of the two"),
        ({"users": "3"}, "rps", "one of the two"),
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


# --- the server ---


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

    monkeypatch.setattr(web, "answer", broken)
    monkeypatch.setattr("guide.web.api.answer", broken)
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


def test_preset_keeps_model_and_gpus():
    state = from_query(url({**CHAT, "usd": "9"})[2:])
    changed = state.preset("batch")
    assert (changed.model, changed.pools) == (state.model, state.pools)
    assert changed.values["users"] == "128"
    assert "rps" not in changed.values
    assert changed.values["usd"] == "9"
    assert isinstance(changed, State)
    assert quote(state.model, safe="") in changed.query
