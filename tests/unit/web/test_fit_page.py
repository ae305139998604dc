"""`guide fit` and the page "Does it fit?" give one answer, and one sentence for bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from guide.cli.app import app as cli
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.web.settings import Settings
from tests.llama_config import LLAMA
from tests.web_questions import NODES, client_of

LLAMA_8B = {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "H100-SXM"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with client_of(Settings(nodes_file=NODES, answers_per_minute=100_000)) as client:
        yield client


def by_cli(*words: str) -> dict[str, object]:
    return json.loads(CliRunner().invoke(cli, ["fit", *words, "-o", "json"]).stdout)


def test_both_faces_give_one_document(client: TestClient):
    asked = {**LLAMA_8B, "tp": "2", "max_model_len": "16000", "framework_version": "0.11.0"}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in asked.items()]
    assert client.get("/api/fit", params=asked).json() == by_cli(*words)


def test_the_page_asks_about_every_framework(client: TestClient):
    form = client.get("/fit").text
    assert 'name="framework"' in form
    assert all(f'<option value="{name}">' in form for name in FRAMEWORKS)
    asked = {**LLAMA_8B, "tp": "1", "framework": "SGLang"}
    page = client.get("/fit", params=asked).text
    assert "Fits: meta-llama/Llama-3.1-8B-Instruct" in page
    assert 'value="SGLang"' in page
    words = [f"--{key}={value}" for key, value in asked.items()]
    assert client.get("/api/fit", params=asked).json() == by_cli(*words)


def test_the_page_asks_and_answers(client: TestClient):
    empty = client.get("/fit")
    assert 'name="model"' in empty.text
    assert "The answer" not in empty.text
    page = client.get("/fit", params={**LLAMA_8B, "tp": ""})
    assert page.status_code == 200
    assert "Fits: meta-llama/Llama-3.1-8B-Instruct" in page.text
    assert "KV cache in tokens by GPU and TP" in page.text


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model", "nobody/knows", "not in the catalogue"),
        ("model", "", "is missing: name one"),
        ("gpu", "H1000", "H1000 is not in the catalogue"),
        ("tp", "two", "is &#39;two&#39;, but it must be"),
        ("tp", "9" * 50, "whole number up to"),
        ("gpu_memory_utilization", "nan", "above 0 and up to 1"),
        ("framework_version", "latest", "write it like 0.8.5"),
        ("framework", "Nobody", "is unknown"),
        ("precision", "int3", "int3 is none of"),
    ],
)
def test_bad_input_gets_one_sentence(client: TestClient, field: str, value: str, says: str):
    page = client.get("/fit", params={**LLAMA_8B, field: value})
    assert page.status_code == 422
    assert says in page.text
    assert client.get("/api/fit", params={**LLAMA_8B, field: value}).status_code == 422


def test_a_path_is_no_model_of_the_page(client: TestClient, tmp_path: Path):
    """The command line reads a config.json or its folder; the page reads no files."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    found = by_cli("--model", str(tmp_path), "--gpu", "H100-SXM", "--tp", "1")
    assert found["fits"]
    page = client.get("/fit", params={**LLAMA_8B, "model": str(tmp_path)})
    assert page.status_code == 422


def test_exit_codes():
    words = ["fit", "--model", "meta-llama/Llama-3.1-70B", "--gpu", "L4"]
    assert CliRunner().invoke(cli, [*words, "--tp", "1"]).exit_code == 3
    assert CliRunner().invoke(cli, [*words, "--tp", "8", "--max-model-len", "2048"]).exit_code == 0
    wrong = CliRunner().invoke(cli, [*words, "--max-model-len", "long"])
    assert isinstance(wrong.exception, SpecError)
