"""TCP ports for programs that are told one before they listen on it."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below the ports that systems give to outgoing connections (32768 and up on Linux) and that
# Kubernetes gives to its Services (30000 and up): nobody else takes one in the time that a program
# needs from being told its port to listening on it.
_RANGE = range(10_000, 30_000)
_LAST = Path(tempfile.gettempdir()) / f"guide-ports-{os.getuid()}"


def free_ports(count: int) -> list[int]:
    """Distinct ports of 127.0.0.1 on which nobody listens. All processes of this user take turns
    round one range, so that none is given twice before 20,000 others were.

    Raises:
        OSError: When all are taken.
    """
    with _LAST.open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        begin = int(last.read() or random.SystemRandom().choice(_RANGE)) - _RANGE.start
        found: list[int] = []
        for step in range(1, len(_RANGE) + 1):
            port = _RANGE[(begin + step) % len(_RANGE)]
            if not _taken(port):
                found.append(port)
            if len(found) == count:
                break
        last.truncate(0)
        last.write(str(found[-1] if found else _RANGE.start))
    if len(found) < count:
        end = _RANGE.stop - 1
        raise OSError(f"fewer than {count} of the ports {_RANGE.start} to {end} are free")
    return found


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
