"""The two processes of a FastGen pod on this machine: the stand-in server and the real proxy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, stop_after_delay, wait_fixed

from guide.domain import Slo
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.frameworks.fastgen import PROXY_PATH
from tests.handmade import GROUP
from tests.mii_server import MODEL

ROOT = Path(__file__).resolve().parents[1]
SLO = Slo(ttft_p95_s=0.5, tpot_p95_s=0.05)
# A package of this name is in FastGen's image: here a word is a token, and a turn costs two.
TRANSFORMERS = """
class AutoTokenizer:
    @classmethod
    def from_pretrained(cls, name):
        return cls()

    def encode(self, text):
        return text.split()

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        return " ".join("<s> " + message["content"] + " </s>" for message in messages)
"""


@contextmanager
def process(port: int, *words: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program, from when its port answers until the end of the block."""
    with subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT) as running:
        try:
            _connect(port)
            yield running
        finally:
            running.terminate()
            running.wait(20)


@retry(stop=stop_after_delay(30), wait=wait_fixed(0.05), reraise=True)
def _connect(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 1).close()


@contextmanager
def proxy(
    folder: Path,
    port: int,
    server_port: int,
    *more: str,
    most: int = 96,
    tokenizer: bool = True,
) -> Iterator[subprocess.Popen[bytes]]:
    """The proxy as its container starts it, but for the ports and the size of a batch."""
    options = DeploymentOptions(served_name="m", images={"FastGen": "x"}, slo=SLO)
    launch = FRAMEWORKS["FastGen"].launch(GROUP, options)
    assert launch.proxy is not None
    script = folder / Path(PROXY_PATH).name
    for path, text in launch.files:
        (folder / Path(path).name).write_text(text)
    if tokenizer:
        (folder / "transformers.py").write_text(TRANSFORMERS)
    ours = (f"--port={port}", f"--server-port={server_port}", f"--max-sequences={most}", *more)
    with process(port, script, *launch.proxy.command[2:], *ours) as running:  # the last counts
        yield running


def scrape(port: int) -> dict[str, float]:
    """What the proxy exports: names without `vllm:`, with the bucket or finish reason appended."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        families = text_string_to_metric_families(response.read().decode())
    found: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        assert sample.labels.items() >= {"model_name": MODEL, "engine": "0"}.items()
        more = [sample.labels[key] for key in ("finished_reason", "le") if key in sample.labels]
        found["_".join([sample.name.removeprefix("vllm:"), *more])] = sample.value
    return found


def request(path: str, body: object, *, version: str = "1.1", close: bool = True) -> bytes:
    """The bytes of a POST; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(content)}"]
    if close:
        head.append("Connection: close")
    return "\r\n".join([*head, "", ""]).encode() + content


def question(**more: object) -> dict[str, object]:
    """The body of a completion whose prompt has three tokens."""
    return {"model": MODEL, "prompt": "one two three", **more}


def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back on a connection for `sent`, which is written while the answer is read."""
    with socket.create_connection(("127.0.0.1", port), 30) as one:
        writing = threading.Thread(target=one.sendall, args=(sent,))
        writing.start()
        back = bytearray()
        while piece := one.recv(1 << 16):
            back += piece
        writing.join()
        return bytes(back)


def until(port: int, **wanted: float) -> dict[str, float]:
    """The metrics, once those of `wanted` have their values."""
    end = time.monotonic() + 10
    while True:
        found = scrape(port)
        told = {name: found.get(name) for name in wanted}
        if told == wanted:
            return found
        assert time.monotonic() < end, told
        time.sleep(0.02)
