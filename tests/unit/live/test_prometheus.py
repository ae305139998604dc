"""What Prometheus answers, and what may come instead of an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from guide.live import queries as q
from guide.live.measured import QUERIES, Observation
from guide.live.prometheus import Prometheus, PrometheusError


@contextmanager
def answering(body: bytes, code: int = 200, asked: list[bytes] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            if asked is not None:
                asked.append(query)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"<html>", 200), (b"{}", 200), (b"[]", 200), (b"", 502), (b'{"data": {"result": 1}}', 200)],
)
def test_an_answer_that_is_none_is_one_sentence(body: bytes, code: int):
    with answering(body, code) as url, pytest.raises(PrometheusError, match="is the URL right"):
        Prometheus(url).values("up")


def test_a_server_that_is_down_is_one_sentence():
    with pytest.raises(PrometheusError, match="cannot be read"):
        Prometheus("http://127.0.0.1:9").values("up")


def test_nan_is_no_value_and_the_median_pod_counts():
    series = [{"value": [0, text]} for text in ("NaN", "0.02", "0.021", "9")]
    body = json.dumps({"data": {"result": series}}).encode()
    with answering(body) as url:
        assert Prometheus(url).values("x") == {("", ""): [0.02, 0.021, 9.0]}
        seen = Prometheus(url).observe("", "1m")
        assert seen.tpot_mean_s == 0.021
        assert seen.pods_apart == pytest.approx(1 - 0.02 / 0.021)  # one that lies, of three


def test_two_pods_that_disagree_are_told_apart():
    series = [{"value": [0, text]} for text in ("0.02", "0.2")]
    with answering(json.dumps({"data": {"result": series}}).encode()) as url:
        assert Prometheus(url).observe("", "1m").pods_apart == pytest.approx(0.09 / 0.11)


def test_queries_name_old_and_new_metrics():
    text = q.quantile(0.95, "tpot", "", "5m")
    assert text.index("inter_token_latency") < text.index("vllm:time_per_output_token")
    assert "gpu_cache_usage_perc" in q.kv_usage("")


@pytest.mark.parametrize("plans", [1, 1000])
def test_all_plans_cost_one_query_a_quantity(plans: int):
    series = [
        {
            "metric": {"namespace": "ml", "plan": f"p{n}", "instance": pod},
            "value": [0, f"0.{n + 1}"],
        }
        for n in range(plans)
        for pod in "ab"
    ]
    asked: list[bytes] = []
    with answering(json.dumps({"data": {"result": series}}).encode(), asked=asked) as url:
        seen = Prometheus(url).observe_plans("1m")
        assert seen["ml", "p0"].tpot_mean_s == 0.1
        assert len(seen) == plans
        assert seen["ml", "other"] == Observation()
    assert len(asked) == len(QUERIES)
