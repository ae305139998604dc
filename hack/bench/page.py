"""Questions to the web page as pip installs it, by the clock of who asks: pages and JSON."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from guide.web.settings import ANSWERS
from hack.bench.clusters import cluster
from hack.bench.measure import Scale, Section, table
from hack.ports import free_port

WHAT_IF_MS, NOTHING_S = 150, 3
OVER_COMPILED = "what-if pages of the source over compiled ones"
FORM: dict[str, Any] = {
    **{"model": "meta-llama/Llama-3.1-8B-Instruct", "tpot": "50", "ask": "1"},
    **{"input": "1024", "input95": "3000", "output": "256", "output95": "700"},
    "pool": ["H100-SXM:4:8", "A100-80GB:4:8", "L4:4:8"],
}
HOPELESS: dict[str, Any] = {
    "apiVersion": "guide.dev/v1alpha1",
    "kind": "InferencePlan",
    "metadata": {"name": "hopeless"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-70B-Instruct"},
        "workload": {
            **{"inputTokens": {"mean": 1500}, "outputTokens": {"mean": 300}},
            "requestsPerSecond": 20,
        },
        "precisionTolerance": "INT4",
    },
}
UNFINISHED = "so-far-title"  # of a page that shows how far the search is


def what_ifs(scale: Scale, programs: dict[str, Path]) -> Section:
    """Other loads and limits of one question, each a page: a slider moved."""
    taken: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(scale.what_if_turns):
        for name, program in programs.items():
            with served(program) as page:
                taken[name].append([1e3 * s for s in _moved(page, scale.what_ifs)])
    section = Section("What-ifs", [], [])
    p95_ms = 0.0
    for name, turns in taken.items():
        each = [ms for turn in turns for ms in turn]
        *_, p95_ms = quantiles(each, n=20, method="inclusive")
        section.lines.append(
            f"- {name}: {len(each)} pages about the example on three pools, each of another load "
            "or limit of TTFT, one after the other from `guide serve`, charts and manifests "
            f"included: median {median(each):.0f} ms, p95 {p95_ms:.0f} ms by the clock."
        )
    if "compiled" in taken:
        pairs = zip(taken["source"], taken["compiled"], strict=True)
        section.ratios[OVER_COMPILED] = [sum(source) / sum(fast) for source, fast in pairs]
        section.lines += ["", f"The source takes {section.spread(OVER_COMPILED)} as long."]
    section.target(
        "a what-if on the page, three pools, p95",
        *(f"< {WHAT_IF_MS} ms", f"{p95_ms:.0f} ms", p95_ms < WHAT_IF_MS),
    )
    return section


def unanswered(scale: Scale, programs: dict[str, Path]) -> Section:
    """A question without an answer over many GPU types, which asks about all that there is."""
    nodes = cluster(scale.types, 2)
    section = Section("Questions without an answer", [], [])
    rows: list[tuple[str, ...]] = []
    new: list[float] = []
    for name, program in programs.items():
        turns: list[list[float]] = []
        for _ in range(scale.what_if_turns):
            with served(program) as page:
                turns.append([_recommended(page, nodes, ttft) for ttft in (100, 150)])
        new, again = ([turn[place] for turn in turns] for place in (0, 1))
        rows.append(
            (name, *(f"{median(s):.1f} s ({min(s):.1f} to {max(s):.1f})" for s in (new, again)))
        )
    section.lines += [
        f"{scale.types} GPU types with two nodes each, Llama-3.1-70B down to INT4 within 5 ms a "
        "token: what keeps it from an answer, what would change that, and what to add, as JSON "
        "from a `guide serve` that has answered nothing yet, then under another limit.",
        "",
        *table(("", "new", "another limit"), rows),
    ]
    section.target(
        f"{scale.types} GPU types, INT4, no answer, new",
        *(f"< {NOTHING_S} s", f"{median(new):.1f} s", median(new) < NOTHING_S),
    )
    return section


@contextmanager
def served(program: Path) -> Iterator[httpx.Client]:
    """The page of an installed program, which answers as often as it is asked."""
    port = free_port()
    words = [program, "serve", f"--port={port}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env={**os.environ, ANSWERS: "1000000"}, **quiet) as server:
        try:
            client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False)
            with client as page:
                _up(page)
                yield page
        finally:
            server.terminate()


@retry(
    stop=stop_after_delay(60),
    wait=wait_fixed(0.1),
    retry=retry_if_exception_type(httpx.TransportError),
    reraise=True,
)
def _up(page: httpx.Client) -> None:
    page.get("/healthz").raise_for_status()


def _moved(page: httpx.Client, count: int) -> list[float]:
    _page(page, {**FORM, "rps": "8", "ttft": "1000"})
    loads = (str(2 + number % 12) for number in range(count))
    limits = (("500", "1000", "1500")[(number + number // 12) % 3] for number in range(count))
    return [
        _page(page, {**FORM, "rps": load, "ttft": limit})
        for load, limit in zip(loads, limits, strict=True)
    ]


def _page(page: httpx.Client, fields: dict[str, Any]) -> float:
    """Seconds until the whole answer is there."""
    began, text = time.perf_counter(), UNFINISHED
    while UNFINISHED in text:
        text = page.get(f"/?{urlencode(fields, doseq=True)}").raise_for_status().text
    return time.perf_counter() - began


def _recommended(page: httpx.Client, nodes: list[dict[str, Any]], ttft_ms: int) -> float:
    slo = {"tpotP95Milliseconds": 5, "ttftP95Milliseconds": ttft_ms}
    plan = {**HOPELESS, "spec": {**HOPELESS["spec"], "slo": slo}}
    began = time.perf_counter()
    answer = page.post("/api/recommend", json={"plan": plan, "nodes": nodes}).raise_for_status()
    took_s = time.perf_counter() - began
    if answer.json()["feasible"]:
        raise RuntimeError("the question without an answer has one")
    return took_s
