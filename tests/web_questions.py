"""Questions for tests of the web page, and a client of it."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi.testclient import TestClient

from guide.web import app as web
from guide.web.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
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


def client_of(settings: Settings, patience_s: float = 100.0) -> TestClient:
    settings = replace(settings, patience_s=patience_s)
    return TestClient(web.create(settings), raise_server_exceptions=False, follow_redirects=False)


def url(fields: dict[str, Any], path: str = "/") -> str:
    return f"{path}?{urlencode(fields, doseq=True)}"


def field_error(page: str, name: str) -> str:
    found = re.search(rf'id="e-{re.escape(name)}">(.*?)</span>', page)
    return unescape(found.group(1)) if found else ""
