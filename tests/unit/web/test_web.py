"""The web page without a browser: the answer, its files and links."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import yaml
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from guide.cli.app import app as cli
from guide.web.asking import plan_document
from guide.web.presets import PRESETS
from guide.web.settings import Settings
from guide.web.state import State, from_query, plain_number
from tests.llama_config import LLAMA
from tests.web_questions import CHAT, NODES, SLOW, client_of, field_error, url


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def by_cli(folder: Path, fields: dict[str, Any], client: TestClient) -> dict[str, Any]:
    """What `guide plan -o json` says to the plan and nodes that the page offers to download."""
    for name in ("plan.yaml", "nodes.yaml"):
        (folder / name).write_bytes(client.get(url(fields, f"/download/{name}")).content)
    words = ["plan", "-f", f"{folder}/plan.yaml", "--nodes", f"{folder}/nodes.yaml", "-o", "json"]
    return json.loads(CliRunner().invoke(cli, words).stdout)


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
        {"gpu": "L4", "nodes": 3, "gpusPerNode": 1, "usdPerNodeHour": 0.8},
    ]
    answer = client.post("/api/recommend", json={"plan": plan, "pools": pools})
    assert answer.status_code == 200
    assert answer.json() == by_cli(tmp_path, CHAT, client)


def test_api_takes_nodes_or_the_cluster_of_the_server(client: TestClient):
    body = {"plan": yaml.safe_load(client.get(url(CHAT, "/download/plan.yaml")).text)}
    nodes = yaml.safe_load(NODES.read_text())["items"]
    answer = client.post("/api/recommend", json=body)
    assert client.post("/api/recommend", json={**body, "nodes": nodes}).json() == answer.json()


TWO_POOLS = [{"gpu": gpu, "nodes": 1, "gpusPerNode": 4} for gpu in ("A100-80GB", "L40S")]
FREE = {"ttft": "", "tpot": "", "e2e": ""}  # no limits
LAYOUT = {"pool", "gpu", "framework", "checkpoint", "precision", "kvCacheDtype", "tp", "pp", "ep",
          "attentionDp", "replicas"}  # fmt: skip


def closed(schema: Any) -> Any:
    """A schema whose objects take no property that they do not name."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {"additionalProperties": False} if "properties" in schema else {}
    return {**{key: closed(value) for key, value in schema.items()}, **shut}


def unknown_gpu() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = yaml.safe_load(NODES.read_text())["items"]
    nodes[0]["metadata"]["labels"]["nvidia.com/gpu.product"] = "Tesla-From-The-Future"
    return nodes


@pytest.mark.parametrize(
    ("asked", "changes", "kind"),
    [
        ([CHAT], {}, LAYOUT),
        ([SLOW], {}, LAYOUT),  # infeasible, with relaxations
        # fleets of two pools: at some loads one of them is tried and loses
        ([{**CHAT, **FREE, "rps": rps} for rps in ("22", "30")], {"pools": TWO_POOLS}, {"groups"}),
        ([CHAT], {"nodes": unknown_gpu()}, {"pool"}),  # refused as a whole
    ],
    ids=["feasible", "infeasible", "mixed", "unknown GPU"],
)
def test_api_answers_fit_the_published_description(
    client: TestClient, asked: list[dict[str, Any]], changes: dict[str, Any], kind: set[str]
):
    published = client.get("/openapi.json").json()
    operation = published["paths"]["/api/recommend"]["post"]
    told = operation["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**closed(told), "components": closed(published["components"])}
    seen: set[frozenset[str]] = set()
    for fields in asked:
        plan = yaml.safe_load(client.get(url(fields, "/download/plan.yaml")).text)
        plan["spec"]["placement"] = {"mix": "Any"}  # a mix is tried even where it saves little
        plan["spec"]["budget"] = {"billing": "FreeGPUs"}
        answer = client.post("/api/recommend", json={"plan": plan, **changes})
        assert answer.status_code == 200
        Draft202012Validator(schema).validate(answer.json())
        seen |= {frozenset(rejection["candidate"]) for rejection in answer.json()["rejections"]}
        broken = {**answer.json(), "candidates": "many"}
        assert not Draft202012Validator(schema).is_valid(broken)
    assert kind in seen


def test_nothing_of_the_answer_is_an_untyped_object(client: TestClient):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    seen, waiting = set[str](), ["RecommendationDocument"]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for place in schemas[name]["properties"].values():
                waiting += re.findall(r"schemas/(\w+)", json.dumps(place))
                typed = place.get("additionalProperties", True) is not True
                assert place.get("type") != "object" or typed, (name, place)
    assert {"GroupDocument", "MemoryDocument", "PoolDocument", "EngineDocument"} <= seen


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
    assert "does not know me/mine" in field_error(unknown.text, "model")
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


def test_nodes_to_add_are_links_that_work(client: TestClient):
    """One L4 is too little for this load; each node that is offered beside it is enough."""
    asked = {**CHAT, "pool": ["L4:1:1"]}
    page = client.get(url(asked))
    links = re.findall(
        r'class="button" href="(/\?[^"]+)">([^<]+ every limit up to [^<]+)<', page.text
    )
    assert links
    for link, words in links:
        assert "pool=L4" in link
        found = client.get("/download/recommendation.json?" + unescape(link)[2:])
        assert found.json()["feasible"] is True, words


def test_anything_that_can_be_rented_is_a_source_of_gpus(client: TestClient):
    asked = "/?model=openai/gpt-oss-20b&input=1000&output=200&rps=1&source=rent&ask=1"
    page = client.get(asked)
    assert page.status_code == 200
    assert "Where to rent it" in page.text
    assert "Not offered, since no price is known" in page.text
    assert 'id="source-rent" checked' in page.text


def test_comparison_shows_both_runs(client: TestClient):
    here = client.get(url({**CHAT, "rps": "40", "compare": urlencode(CHAT, doseq=True)}))
    assert here.status_code == 200
    table = here.text[here.text.index("compare-title") :]
    assert re.search(r"<td>Requests per second[^<]*</td><td>40</td><td>8</td>", table)


def test_more_than_two_runs_stand_side_by_side(client: TestClient):
    others = [urlencode({**CHAT, "ttft": limit}, doseq=True) for limit in ("900", "800")]
    here = client.get(url({**CHAT, "compare": others}))
    table = here.text[here.text.index("compare-title") :]
    assert "2 runs before" in table
    row = r"<td>First token within[^<]*</td><td>1000</td><td>900</td><td>800</td>"
    assert re.search(row, table)


def test_the_yaml_on_the_page_is_that_of_the_files(client: TestClient):
    text = client.get(url(CHAT)).text
    shown = [unescape(found) for found in re.findall(r'<pre id="yaml-.*?>(.*?)</pre>', text, re.S)]
    files = [client.get(url(CHAT, f"/download/{n}")).text for n in ("plan.yaml", "manifests.yaml")]
    assert shown == files


def test_a_link_keeps_its_answer(client: TestClient):
    page = client.get(url(CHAT)).text
    found = re.search(r'id="permalink" href="/\?([^"]+)"', page)
    assert found
    query = unescape(found[1])
    assert "The same answer as when this link was made" in client.get(f"/?{query}").text
    before = re.sub(r"asof=[0-9a-f]{12}", "asof=0123456789ab", query)
    assert "the catalogue is" in client.get(f"/?{before}").text
    assert "asof" not in re.search(r'href="/download/plan.yaml\?([^"]+)"', page)[1]  # pyright: ignore


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


@pytest.mark.parametrize("name", PRESETS)
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


def test_preset_keeps_model_and_gpus():
    state = from_query(url({**CHAT, "usd": "9"})[2:])
    changed = state.preset("batch")
    assert (changed.model, changed.pools) == (state.model, state.pools)
    assert (changed.values["batch"], changed.values["within"]) == ("20000", "6h")
    assert "rps" not in changed.values
    assert changed.values["usd"] == "9"
    assert isinstance(changed, State)
    assert quote(state.model, safe="") in changed.query


def test_a_stated_price_bills_whole_nodes(client: TestClient):
    fields = {**CHAT, "pool": "H100-SXM:2:8:24"}
    found = client.get(url(fields, "/download/recommendation.json")).json()
    assert found["best"]["gpus"] < 8
    assert found["best"]["usdPerHour"] == 24


@pytest.mark.parametrize(
    ("written", "number"),
    [
        *(("1,024", "1024"), ("12 500", "12500"), ("1,234,567.5", "1234567.5"), ("1’024", "1024")),
        *(("40,5", "40.5"), ("2.50", "2.50"), ("7", "7"), ("x", "x"), ("1,02", "1.02")),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, number: str):
    assert plain_number(written) == number


@pytest.mark.parametrize("name", ["input", "output"])
def test_a_missing_length_is_told_beside_its_field(client: TestClient, name: str):
    page = client.get(url({**CHAT, name: ""}))
    assert field_error(page.text, name) == "Fill this in."


def test_a_body_of_the_wrong_kind_is_told_in_a_sentence(client: TestClient):
    plan = plan_document(from_query(url(CHAT)[2:]), {})
    refused = client.post("/api/recommend", json={"plan": plan, "nodes": {"items": []}})
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("nodes must be a list, not a mapping")


def test_an_unknown_model_is_answered_in_words_of_the_page(client: TestClient):
    said = field_error(client.get(url({**CHAT, "model": "llama"})).text, "model")
    assert said.startswith("GUIDE does not know llama. Did you mean ")
    assert "meta-llama/" in said
    for word in ("guide models", "--model-config", "configFrom", "spec."):
        assert word not in said


def test_a_price_per_token_says_of_which_tokens(client: TestClient):
    text = client.get(url(CHAT)).text
    assert re.search(r"\$[0-9.]+ per million output tokens, \$[0-9.]+ over all", text)


def test_a_day_instead_of_a_load_gives_scale_bounds(client: TestClient):
    day = {**CHAT, "rps": "", "daylow": "0,5", "daymean": "3", "daypeak": "8"}
    page = client.get(url(day)).text
    assert "Scale bounds over the day" in page
    assert "--autoscaling hpa" in page
    assert "vllm:request_success_total" in page
    assert "Scale bounds" not in client.get(url(CHAT)).text
    both = client.get(url({**day, "rps": "8"}))
    assert both.status_code == 422
    assert "one of the four" in both.text
    wrong = client.get(url({**day, "daymean": "30"})).text
    assert "in this order, and are 0.5, 30 and 8" in field_error(wrong, "daypeak")
