"""Ports that programs are told before they listen."""

from __future__ import annotations

import socket
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from hack import ports
from hack.ports import free_port, free_ports


def test_no_port_is_given_twice_though_nobody_listens_yet():
    """The operator is told two of them, and died when both were the same."""
    given = [free_port() for _ in range(300)] + free_ports(300)
    assert len(set(given)) == len(given)


def test_nor_to_two_processes():
    """Tests that run side by side start programs at the same time."""
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        given = [port for found in pool.map(free_ports, [100] * 8) for port in found]
    assert len(set(given)) == len(given) == 800


def test_no_outgoing_connection_and_no_service_takes_one():
    assert all(1024 < port < 30_000 for port in free_ports(300))


def test_a_port_that_somebody_listens_on_is_not_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(taken, taken + 1))
        monkeypatch.setattr(ports, "_LAST", tmp_path / "last")
        with pytest.raises(OSError, match="are free"):
            free_port()


def test_after_the_last_port_comes_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(ports, "_RANGE", range(10_000, 10_003))
    monkeypatch.setattr(ports, "_LAST", tmp_path / "last")
    monkeypatch.setattr(ports, "_taken", lambda port: False)
    given = [free_port() for _ in range(6)]
    assert given[:3] == given[3:]
    assert sorted(given[:3]) == [10_000, 10_001, 10_002]


def test_a_program_can_listen_on_each():
    servers = [socket.create_server(("127.0.0.1", port)) for port in free_ports(20)]
    for server in servers:
        server.close()
