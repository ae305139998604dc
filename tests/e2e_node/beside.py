"""Programs that run beside the node's own, in its network, for as long as a test needs them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from hack.node.node import Node
from tests.e2e.operator_process import eventually


@contextmanager
def beside(node: Node, program: Path, *words: str, answers: Callable[[], bool]) -> Generator[None]:
    """Run a program while the block does, which begins once it answers."""
    command = node.command(program, *words, network_alone=True)
    path = node.run_dir / "logs" / f"{program.name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: process.poll() is not None or answers(), 60)
        assert process.poll() is None, path.read_text("utf-8").splitlines()[-15:]
        yield
    finally:
        process.terminate()
        process.wait(20)
