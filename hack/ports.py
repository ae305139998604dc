"""TCP ports for programs that are told one before they listen on it."""

from __future__ import annotations

import random
import socket

# Below the ports that systems give to outgoing connections (32768 and up on Linux) and that
# Kubernetes gives to its Services (30000 and up): nobody else takes one in the time that a program
# needs from being told its port to listening on it.
_RANGE = range(10_000, 30_000)
_RANDOM = random.SystemRandom()  # tests seed the common one: each process would draw the same
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 on which nobody listens and which this process never gave before.

    Raises:
        OSError: When all are taken.
    """
    found: list[int] = []
    for port in _RANDOM.sample(_RANGE, len(_RANGE)):
        if len(found) == count:
            return found
        if port not in _given and not _taken(port):
            _given.add(port)
            found.append(port)
    last = _RANGE.stop - 1
    raise OSError(f"fewer than {count} of the ports {_RANGE.start} to {last} are free")


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        # as servers do: a port whose last connections have only just ended is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
