"""Ports that programs are told before they listen."""

from __future__ import annotations

import socket

import pytest

from hack import ports
from hack.ports import free_port, free_ports


def test_no_port_is_given_twice_though_nobody_listens_yet():
    """The operator is told two of them, and died when both were the same."""
    given = [free_port() for _ in range(300)] + free_ports(300)
    assert len(set(given)) == len(given)


def test_no_outgoing_connection_and_no_service_takes_one():
    assert all(1024 < port < 30_000 for port in free_ports(300))


def test_a_port_that_somebody_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(taken, taken + 1))
        monkeypatch.setattr(ports, "_given", set[int]())
        with pytest.raises(OSError, match="are free"):
            free_port()


def test_a_program_can_listen_on_each():
    servers = [socket.create_server(("127.0.0.1", port)) for port in free_ports(20)]
    for server in servers:
        server.close()
