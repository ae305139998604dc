"""The stand-in for SGLang, started by the very arguments of a generated Deployment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from tenacity import retry, stop_after_delay, wait_fixed

from hack.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = ROOT / "tests/golden/manifests/sglang/deployment-0.yaml"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(start_s=1.5) as found:
        yield found


@contextmanager
def serving(start_s: float) -> Generator[str]:
    """A server that takes so long until it is loaded."""
    container = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["python3", "-m", "sglang.launch_server"]
    port = free_port()
    given = [arg for arg in container["args"] if not arg.startswith(("--port", "--host"))]
    command = [sys.executable, "-m", "hack.standin", "launch-server", *given, f"--port={port}"]
    environment = os.environ | {"STANDIN_TTFT_S": "0.01", "STANDIN_START_S": str(start_s)}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def get(url: str, path: str) -> httpx.Response:
    return httpx.get(f"{url}{path}", trust_env=False, timeout=25)


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True)
def ready(url: str, status: int) -> None:
    assert get(url, "/ready").status_code == status


def test_it_is_neither_ready_nor_healthy_before_it_is_loaded():
    with serving(start_s=3600.0) as url:
        ready(url, 503)
        assert get(url, "/health").status_code == 503


def test_health_takes_the_time_of_a_token_and_ready_does_not(url: str):
    """So a probe that waits one second, as Kubernetes does by itself, can never pass."""
    ready(url, 200)
    for path, at_least_s, at_most_s in (("/ready", 0.0, 0.9), ("/health", 1.0, 5.0)):
        began = time.monotonic()
        assert get(url, path).status_code == 200
        assert at_least_s <= time.monotonic() - began < at_most_s


def test_metrics_have_its_names_and_the_buckets_of_the_plan(url: str):
    ready(url, 200)
    body = {"model": "meta-llama/Llama-3.1-8B-Instruct", "prompt": "Hello", "max_tokens": 3}
    answer = httpx.post(f"{url}/v1/completions", json=body, trust_env=False, timeout=20)
    assert answer.json()["usage"]["completion_tokens"] == 3
    text = get(url, "/metrics").text
    assert 'sglang:time_to_first_token_seconds_bucket{engine="0",le="0.55"' in text
    assert "vllm:" not in text
    assert "\nsglang:max_total_num_tokens 400000.0" in text
    assert '\nsglang:startup_time_seconds{phase="tokenizer_e2e"} 1.5' in text
