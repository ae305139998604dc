"""Starts programs in the background and stops exactly those, never a stranger with their number.

A run directory keeps `pids/NAME.json` (process id and its creation time) and `logs/NAME.log`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from hack.controlplane.build import ControlPlaneError


def start(run_dir: Path, name: str, argv: Iterable[str | Path]) -> None:
    """Start one program, detached, with its output in logs/NAME.log."""
    for folder in ("logs", "pids"):
        (run_dir / folder).mkdir(parents=True, exist_ok=True)
    with (run_dir / "logs" / f"{name}.log").open("wb") as log:
        child = psutil.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = {"pid": child.pid, "created": child.create_time()}
    (run_dir / "pids" / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def running(run_dir: Path, name: str) -> psutil.Process | None:
    """The recorded process if it is still the same one and alive."""
    record_file = run_dir / "pids" / f"{name}.json"
    if not record_file.exists():
        return None
    record = json.loads(record_file.read_text(encoding="utf-8"))
    try:
        process = psutil.Process(record["pid"])
    except psutil.NoSuchProcess:
        return None
    same = process.create_time() == record["created"]
    return process if same and _alive(process) else None


def recorded(run_dir: Path) -> list[str]:
    """Names of the programs that this run directory started and has not stopped."""
    return sorted(path.stem for path in (run_dir / "pids").glob("*.json"))


def wait_for(run_dir: Path, name: str, ready: Callable[[], bool], limit_s: float) -> None:
    """Poll until ready() holds; fail at once, with the log's end, when the program is gone."""

    def gone_or_ready() -> bool:
        if running(run_dir, name) is None:
            raise ControlPlaneError(f"{name} exited while starting:\n{_log_end(run_dir, name)}")
        return ready()

    poll = Retrying(
        stop=stop_after_delay(limit_s),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda done: not done),
    )
    try:
        poll(gone_or_ready)
    except RetryError:
        raise ControlPlaneError(
            f"{name} was not ready after {limit_s:.0f} s:\n{_log_end(run_dir, name)}"
        ) from None


def stop(run_dir: Path, names: Iterable[str], grace_s: float) -> list[str]:
    """Terminate the named programs together, kill what outlives the grace; return what ran."""
    found = {name: process for name in names if (process := running(run_dir, name)) is not None}
    for process in found.values():
        process.terminate()
    for process in _outliving(found.values(), grace_s):
        process.kill()
    _outliving(found.values(), grace_s)
    for name in names:
        (run_dir / "pids" / f"{name}.json").unlink(missing_ok=True)
    return list(found)


def _outliving(processes: Iterable[psutil.Process], grace_s: float) -> list[psutil.Process]:
    """Those still alive after the grace. A zombie is gone: its parent may never collect it."""

    def alive() -> list[psutil.Process]:
        return [each for each in processes if _alive(each)]

    poll = Retrying(
        stop=stop_after_delay(grace_s),
        wait=wait_fixed(0.05),
        retry=retry_if_result(bool),
        retry_error_callback=lambda state: state.outcome.result(),
    )
    return poll(alive)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _log_end(run_dir: Path, name: str) -> str:
    log = (run_dir / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    return "\n".join(log.splitlines()[-15:])
