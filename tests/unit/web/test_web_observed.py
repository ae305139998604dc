"""The plans page on what pods did: beside the prediction and the limits, and with its verdict."""

from __future__ import annotations

import re
from html import unescape

from fastapi.testclient import TestClient

from guide.web.asking import plan_document
from guide.web.state import from_query
from tests.cluster_of_plans import Cluster, plan

SLOW = {
    "ttftP95Seconds": "2.4",
    "requestsPerSecond": "12",
    "promptMean": "1500",
    "outputMean": "300",
    "outputP95": "801.5",
    "verdict": {"kind": "LoadMoved", "message": "The load grew.", "missed": ["ttft"]},
}


def test_a_plan_that_misses_a_limit_is_red_and_stands_first(page: TestClient, cluster: Cluster):
    cluster.held = [
        plan("a", ("Ready", "True")),
        plan("y", ("Ready", "True"), ("PredictionDrift", "True")),
        plan("z", ("Ready", "True"), observed=SLOW),
    ]
    text = page.get("/plans").text
    assert re.findall(r'href="/plans/ml/(\w)"', text) == ["z", "y", "a"]
    assert '<span class="badge no">misses a limit</span>' in text
    assert '<td class="number missed">2.40 s</td><td class="number">1.00 s</td>' in text


def test_the_load_as_it_is_opens_as_a_question(page: TestClient, cluster: Cluster):
    cluster.held = [plan("chat", ("Ready", "True"), observed=SLOW)]
    text = unescape(page.get("/plans/ml/chat").text)
    assert "<strong>The load grew.</strong>" in text
    (query,) = re.findall(r'href="/\?([^"]+)">Plan for the load as it is<', text)
    workload = plan_document(from_query(query), {})["spec"]["workload"]
    assert workload["requestsPerSecond"] == "12"
    assert workload["inputTokens"] == {"mean": 1500, "p95": 3000}
    assert workload["outputTokens"] == {"mean": 300, "p95": 802}


def test_predicted_stands_beside_observed(page: TestClient, cluster: Cluster):
    predicted = {"mean": "0.1", "p95": "0.25", "interval90": {"lower": "0.2", "upper": "0.3"}}
    cluster.held = [
        plan(
            "chat",
            ("Ready", "True"),
            ("Feasible", "True"),
            best={"predicted": {"ttftSeconds": predicted}},
            observed={
                "at": "2026-11-25T02:10:00Z",
                "ttftMeanSeconds": "0.14",
                "ttftP95Seconds": "0.28",
                "requestsPerSecond": "7.5",
                "predicted": {"ttft": {"meanSeconds": "0.12", "p95Seconds": "0.27"}},
            },
        )
    ]
    text = page.get("/plans/ml/chat").text
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in text.split("<tr>")]
    assert ["First token (TTFT), mean", "", "140 ms", "120 ms", "100 ms", ""] in rows
    ends = "200 ms – 300 ms"
    assert ["First token (TTFT), p95", "1.00 s", "280 ms", "270 ms", "250 ms", ends] in rows
    assert ["Requests/s", "", "7.5", "", "–", ""] in rows
    assert "Observed at 2026-11-25 02:10:00 UTC" in text
    assert "Feasible is True" in text
