"""The stand-in server, started by the very arguments of a generated Deployment."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, stop_after_delay, wait_fixed

from guide.live import queries
from hack.ports import free_port
from hack.standin.load import OK, load

ROOT = Path(__file__).resolve().parents[3]
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
MANIFEST = ROOT / "tests/golden/manifests/latency-limits/deployment-0.yaml"
RENAMED = {"vllm:time_per_output_token_seconds", "vllm:gpu_cache_usage_perc"}  # before vLLM 0.13


@dataclass
class Server:
    """A running stand-in."""

    process: subprocess.Popen[bytes]
    url: str

    def ask(self, path: str = "/v1/completions", **body: Any) -> httpx.Response:
        body = {"model": MODEL, "prompt": "Hello there", "max_tokens": 5, **body}
        return httpx.post(f"{self.url}{path}", json=body, trust_env=False, timeout=20)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False)

    def samples(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {one.name: one.value for family in families for one in family.samples}


@contextmanager
def standin(*more: str, healthy: bool = True, **settings: str) -> Iterator[Server]:
    """One with the arguments of the manifest, a few of them replaced."""
    container = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["vllm", "serve"]
    port = free_port()
    given = [arg for arg in container["args"] if not arg.startswith(("--port", "--host"))]
    command = [sys.executable, "-m", "hack.standin", "serve", *given, f"--port={port}", *more]
    environment = os.environ | {f"STANDIN_{k.upper()}": v for k, v in settings.items()}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    server = Server(process, f"http://127.0.0.1:{port}")

    @retry(stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True)
    def answers() -> None:
        assert server.get("/health").status_code == (200 if healthy else 503)

    try:
        answers()
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with standin(ttft_s="0.01", tpot_s="0.001") as one:
        yield one


def test_it_answers_as_the_api_does(server: Server):
    assert server.get("/v1/models").json()["data"][0]["id"] == MODEL
    whole = server.ask().json()
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}
    assert whole["choices"][0]["text"] == " a" * 5
    said = server.ask("/v1/chat/completions", messages=[{"role": "user", "content": "Hello"}])
    assert said.json()["choices"][0]["message"]["content"] == " a" * 5
    streamed = server.ask(stream=True).text.split("\n\n")
    parts = [json.loads(line[6:]) for line in streamed if line.startswith("data: {")]
    assert [one["choices"][0]["text"] for one in parts[:-1]] == [" a"] * 5
    assert parts[-1]["usage"]["completion_tokens"] == 5
    assert "data: [DONE]" in streamed


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"prompt": ""}),
        (400, {"max_tokens": -1}),
        (400, {"max_tokens": 10**9}),
        (404, {"model": "another"}),
    ],
)
def test_what_it_cannot_serve_is_refused(server: Server, status: int, body: dict[str, Any]):
    refused = server.ask(**body)
    assert refused.status_code == status
    assert refused.json()["error"]["message"]


def test_every_metric_that_guide_reads_is_there(server: Server):
    server.ask()
    samples = server.samples()
    asked = (ROOT / "charts/guide/files/rules.yaml").read_text() + str(queries.HISTOGRAMS)
    names = set(re.findall(r"vllm:[a-z0-9_]+", asked))
    assert len(names) > 8
    for name in names:
        if not name.startswith(tuple(RENAMED)):
            assert any(sample.startswith(name) for sample in samples), name
    text = server.get("/metrics").text
    assert 'le="0.55"' in text  # a boundary of --custom-histogram-buckets


def test_a_full_batch_lets_others_wait():
    with standin("--max-num-seqs=1", tpot_s="0.2") as server:

        async def two() -> None:
            sending = asyncio.create_task(load(server.url, 50, 0.06, BODY, 20))
            for _ in range(100):
                await asyncio.sleep(0.02)
                samples = await asyncio.to_thread(server.samples)
                if samples["vllm:num_requests_waiting"] == 2:
                    assert samples["vllm:num_requests_running"] == 1
                    break
            else:
                raise AssertionError(samples)
            assert (await sending)[OK] == 3

        asyncio.run(two())


BODY: dict[str, object] = {"model": MODEL, "prompt": "Hello", "max_tokens": 3}


def test_sigterm_lets_running_requests_end():
    with standin(tpot_s="0.3") as server:

        async def ended() -> None:
            sending = asyncio.create_task(load(server.url, 100, 0.02, BODY, 20))
            while server.samples()["vllm:num_requests_running"] < 2:
                await asyncio.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)
            assert dict(await sending) == {OK: 2}

        asyncio.run(ended())
        assert server.process.wait(10) == 0


def test_it_fails_when_it_is_told_to():
    with standin(error_share="1") as server:
        assert server.ask().status_code == 500
    with standin(fail="unhealthy", healthy=False) as server:
        assert server.ask().status_code == 200
    with standin(start_s="3600", healthy=False):
        pass
    command = [sys.executable, "-m", "hack.standin", "serve", MODEL]
    environment = os.environ | {"STANDIN_FAIL": "exit"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"as it was told to" in done.stderr


BATCH = ROOT / "tests/golden/manifests/batch/job-0.yaml"


def run_batch(folder: Path, *lines: object) -> subprocess.CompletedProcess[str]:
    """The stand-in with the arguments of a generated Job, for part 0 in `folder`."""
    container = yaml.safe_load(BATCH.read_text())["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["vllm", "run-batch"]
    given = [
        arg.replace("/batch", str(folder)).replace("$(JOB_COMPLETION_INDEX)", "0")
        for arg in container["args"]
    ]
    (folder / "requests-0-0.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, "-m", "hack.standin", "run-batch", *given, f"--port={free_port()}"]
    environment = os.environ | {"STANDIN_TTFT_S": "0.01", "STANDIN_TPOT_S": "0.001"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def request(name: str, url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    return {"custom_id": name, "method": "POST", "url": url, "body": asked | body}


def test_a_batch_is_answered_in_its_order_and_ends(tmp_path: Path):
    names = [f"request-{n}" for n in range(20)]
    long = request("long", max_tokens=40)
    ended = run_batch(tmp_path, long, *map(request, names), request("odd", url="/v1/nothing"))
    assert ended.returncode == 0, ended.stderr
    text = (tmp_path / "answers-0-0.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert [one["custom_id"] for one in found] == ["long", *names, "odd"]
    assert found[1]["response"]["body"]["usage"]["completion_tokens"] == 3
    assert found[-1]["response"]["status_code"] == 400
    assert "/v1/nothing" in found[-1]["error"]


def test_a_line_that_is_no_request_ends_the_batch_with_an_error(tmp_path: Path):
    ended = run_batch(tmp_path, {"prompt": "Hello"})
    assert ended.returncode == 1
    assert "custom_id" in ended.stderr
    assert not (tmp_path / "answers-0-0.jsonl").exists()
