"""The proxy beside FastGen, as its container runs it, in front of a stand-in for MII's server."""

from __future__ import annotations

import ast
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from guide.frameworks import fastgen_proxy, fastgen_watch
from hack.ports import free_port, free_ports
from tests.fastgen_pod import exchange, process, proxy, question, request, scrape, until
from tests.mii_server import MODEL

STREAM = question(stream=True)
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello there"}], "stream": True}
BIG = os.urandom(1 << 20) * 20


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    port = free_port()
    with process(port, "-m", "tests.mii_server", str(port)):
        yield port


@pytest.fixture
def port(server: int, tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with proxy(tmp_path, port, server, most=2):
        yield port


CASES = {
    "streamed": request("/v1/completions", STREAM),
    "streamed chat": request("/v1/chat/completions", CHAT),
    "streamed to HTTP/1.0": request("/v1/completions", STREAM, version="1.0"),
    "at once": request("/v1/completions", question()),
    "several prompts": request("/v1/completions", question(prompt=["a", "b"])),
    "two on one connection": request("/v1/completions", STREAM, close=False)
    + request("/v1/completions", question()),
    "refused": request("/v1/completions", {"model": "other", "prompt": "x"}),
    "no JSON": request("/v1/completions", b"{"),
    "failed": request("/v1/completions?fault=503", question()),
    "broken off": request("/v1/completions?fault=break", STREAM),
    "unknown path": request("/nowhere", {}),
    "20 MiB there and back": request("/echo", BIG),
    "in chunks": b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "expects 100": request("/echo", b"hello").replace(b"Host", b"Expect: 100-continue\r\nHost", 1),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("name", CASES)
def test_what_comes_back_is_the_same_to_the_byte(server: int, port: int, name: str):
    direct = exchange(server, CASES[name])
    assert direct
    assert exchange(port, CASES[name]) == direct


def test_a_token_passes_while_the_next_is_still_unmade(server: int, port: int):
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(request("/v1/completions?hold=1", STREAM))
        seen = b""
        while b'"text":" 0"' not in seen:
            seen += client.recv(65536)
        assert b'"text":" 1"' not in seen
        exchange(server, request("/release", {}))
        while piece := client.recv(65536):
            seen += piece
    assert seen.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_streamed_answer_is_measured(port: int):
    began = time.perf_counter()
    exchange(port, request("/v1/completions?first=0.1&gap=0.05&tokens=5", STREAM))
    whole_s = time.perf_counter() - began
    found = until(port, request_prompt_tokens_count=1)
    once = ("time_to_first_token", "request_time_per_output_token", "e2e_request_latency")
    assert all(found[f"{name}_seconds_count"] == 1 for name in once)
    assert found["inter_token_latency_seconds_count"] == 4
    assert found["request_success_total_stop"] == 1
    assert found["generation_tokens_total"] == found["request_generation_tokens_sum"] == 5
    assert found["prompt_tokens_total"] == found["request_prompt_tokens_sum"] == 3
    first_s, gaps_s, e2e_s = (
        found[f"{name}_seconds_sum"]
        for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency")
    )
    assert gaps_s == pytest.approx(4 * found["request_time_per_output_token_seconds_sum"])
    assert first_s >= 0.09
    assert gaps_s >= 0.18
    assert first_s + gaps_s <= e2e_s <= whole_s


def test_a_chat_begins_with_its_first_token_and_counts_its_template(port: int):
    exchange(port, request("/v1/chat/completions?first=0.1", CHAT))
    found = until(port, request_prompt_tokens_count=1)
    assert found["prompt_tokens_total"] == 4
    assert found["generation_tokens_total"] == 5
    assert found["time_to_first_token_seconds_sum"] >= 0.09  # not at the event with the role


def test_an_answer_at_once_has_a_total_time_and_its_usage(port: int):
    exchange(port, request("/v1/completions?tokens=7", question()))
    found = until(port, request_prompt_tokens_count=1, request_success_total_length=1)
    assert found["e2e_request_latency_seconds_count"] == 1
    assert found["generation_tokens_total"] == found["request_generation_tokens_sum"] == 7
    assert found["time_to_first_token_seconds_count"] == 0
    assert found["request_time_per_output_token_seconds_count"] == 0


def test_several_prompts_in_one_request_share_a_time_which_is_that_of_none(port: int):
    exchange(port, request("/v1/completions?tokens=7", question(prompt=["a b", "c"])))
    found = until(port, request_success_total_length=2)
    assert found["generation_tokens_total"] == 14
    assert found["e2e_request_latency_seconds_count"] == 0
    assert found["request_generation_tokens_count"] == 0


@pytest.mark.parametrize(
    ("sent", "errors"),
    [
        (request("/v1/completions?fault=503", question()), 1),
        (request("/v1/completions?fault=break", STREAM), 1),
        (request("/v1/completions", {"model": "other", "prompt": "x"}), 0),
        (request("/nowhere", {}), 0),
        (CASES["no HTTP"], 0),
    ],
)
def test_faults_of_the_server_are_errors_and_faults_of_clients_are_not(
    port: int, sent: bytes, errors: int
):
    exchange(port, sent)
    found = until(port, request_success_total_error=errors, num_requests_running=0)
    assert found["request_success_total_stop"] == found["request_success_total_abort"] == 0
    assert found["e2e_request_latency_seconds_count"] == 0
    exchange(port, CASES["streamed"])  # the next is measured
    until(port, request_success_total_stop=1)


def test_http_1_0_ends_an_answer_by_the_end_of_the_connection(port: int):
    exchange(port, CASES["streamed to HTTP/1.0"])
    found = until(port, request_success_total_stop=1)
    assert found["request_success_total_error"] == 0
    assert found["e2e_request_latency_seconds_count"] == 1


def test_two_on_one_connection_are_told_apart(port: int):
    exchange(port, CASES["two on one connection"])
    found = until(port, request_success_total_stop=1, request_success_total_length=1)
    assert found["time_to_first_token_seconds_count"] == 1
    assert found["e2e_request_latency_seconds_count"] == 2


def test_in_flight_are_the_batch_and_what_waits_and_who_leaves_is_told_to_the_server(
    server: int, port: int
):
    before = int(exchange(server, b"GET /left HTTP/1.0\r\n\r\n").rpartition(b"\n")[2])
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(3)]
    for client in clients:
        client.sendall(request("/v1/completions?hold=1", STREAM))
    until(port, num_requests_running=2, num_requests_waiting=1)
    for client in clients[:2]:
        client.close()
    found = until(port, num_requests_running=1, num_requests_waiting=0)
    assert found["request_success_total_abort"] == 2
    left = exchange(server, b"GET /left HTTP/1.0\r\n\r\n")
    assert int(left.rpartition(b"\n")[2]) == before + 2
    exchange(server, request("/release", {}))
    until(port, num_requests_running=0, request_success_total_stop=1)
    clients[2].close()


def test_a_body_too_long_to_keep_passes_and_is_measured_but_for_its_tokens(port: int):
    exchange(port, request("/v1/completions", question(prompt="word " * 10**6)))
    exchange(port, CASES["streamed"])
    found = until(port, request_prompt_tokens_count=1)
    assert found["e2e_request_latency_seconds_count"] == 2
    assert found["prompt_tokens_total"] == 3


def test_without_a_tokenizer_prompts_are_absent_and_the_rest_stands(server: int, tmp_path: Path):
    port = free_port()
    with proxy(tmp_path, port, server, tokenizer=False):
        exchange(port, CASES["streamed"])
        found = until(port, e2e_request_latency_seconds_count=1)
        assert found["request_prompt_tokens_count"] == 0


def test_a_server_that_is_down_is_a_bad_gateway(tmp_path: Path):
    port, nobody = free_ports(2)
    with proxy(tmp_path, port, nobody):
        assert exchange(port, CASES["streamed"]).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


def test_what_is_under_way_ends_before_the_proxy_does(server: int, tmp_path: Path):
    port = free_port()
    with (
        proxy(tmp_path, port, server) as running,
        socket.create_connection(("127.0.0.1", port), 10) as client,
    ):
        client.sendall(request("/v1/completions?hold=1", STREAM))
        seen = client.recv(65536)
        running.send_signal(signal.SIGTERM)
        exchange(server, request("/release", {}))
        while piece := client.recv(65536):
            seen += piece
        assert seen.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert running.wait(10) == 0


def test_buckets_have_a_boundary_at_each_limit(port: int):
    names = scrape(port)
    assert "time_to_first_token_seconds_bucket_0.5" in names
    assert "inter_token_latency_seconds_bucket_0.05" in names
    assert "e2e_request_latency_seconds_bucket_7680.0" in names  # the default, for want of a limit


def test_the_script_is_written_for_the_python_of_the_image():
    for module in (fastgen_proxy, fastgen_watch):
        ast.parse(Path(module.__file__).read_text(), feature_version=(3, 10))


def seconds_until_closed(port: int, sent: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(sent)
        began = time.monotonic()
        while client.recv(65536):
            began = time.monotonic()
        return time.monotonic() - began


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n", request("/echo", b"x", close=False)],
    ids=["nothing", "half a request", "a request, and no more"],
)
def test_who_says_nothing_more_is_hung_up_on(server: int, tmp_path: Path, sent: bytes):
    port = free_port()
    with proxy(tmp_path, port, server, "--idle-s=0.5"):
        assert 0.3 < seconds_until_closed(port, sent) < 5


def test_an_answer_may_take_longer_than_silence_but_not_for_ever(server: int, tmp_path: Path):
    port = free_port()
    held = request("/v1/completions?hold=1", STREAM)
    with proxy(tmp_path, port, server, "--idle-s=0.2", "--answer-s=1.5"):
        assert 1 < seconds_until_closed(port, held) < 8
        until(port, num_requests_running=0, request_success_total_error=1)
        exchange(server, request("/release", {}))


def test_more_connections_than_its_most_are_told_so_and_leave_room_again(
    server: int, tmp_path: Path
):
    port = free_port()
    with proxy(tmp_path, port, server, "--connections=2"):
        with (
            socket.create_connection(("127.0.0.1", port), 10),
            socket.create_connection(("127.0.0.1", port), 10),
            socket.create_connection(("127.0.0.1", port), 10) as third,
        ):
            assert third.recv(65536).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        answer, end = b"", time.monotonic() + 10
        while not answer.startswith(b"HTTP/1.1 200") and time.monotonic() < end:
            with suppress(OSError):  # refused while it is still being sent
                answer = exchange(port, CASES["at once"])
        assert answer.startswith(b"HTTP/1.1 200")


def first_event_s(connection: http.client.HTTPConnection, body: bytes) -> float:
    """From the request to the first event: what a client calls time to first token."""
    began = time.perf_counter()
    connection.request("POST", "/v1/completions", body)
    answer = connection.getresponse()
    answer.readline()
    seconds = time.perf_counter() - began
    answer.read()
    return seconds


def test_a_first_token_takes_less_than_twice_as_long_through_it(server: int, port: int):
    """Beside a server that makes none: of alternating requests the quickest, since a machine that
    is busy does not slow all of them down."""
    body = json.dumps(STREAM).encode()
    with (
        closing(http.client.HTTPConnection("127.0.0.1", server)) as direct,
        closing(http.client.HTTPConnection("127.0.0.1", port)) as proxied,
    ):
        pairs = [(first_event_s(direct, body), first_event_s(proxied, body)) for _ in range(300)]
    before_s, after_s = map(min, zip(*pairs, strict=True))
    print(f"first token: {1e3 * before_s:.2f} ms, through the proxy {1e3 * after_s:.2f} ms")
    assert after_s < 2 * before_s
