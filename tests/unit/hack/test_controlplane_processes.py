"""hack/controlplane/processes.py: starts detached programs and stops exactly those."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from hack.controlplane.build import ControlPlaneError
from hack.controlplane.processes import recorded, running, start, stop, wait_for

# start() lets go of its child on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(60)",
]


def test_a_started_program_is_stopped_and_forgotten(tmp_path: Path):
    start(tmp_path, "sleeper", SLEEP)
    process = running(tmp_path, "sleeper")
    assert process is not None
    assert recorded(tmp_path) == ["sleeper"]
    assert stop(tmp_path, ["sleeper"], grace_s=5) == ["sleeper"]
    assert running(tmp_path, "sleeper") is None
    assert recorded(tmp_path) == []
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_program_that_ignores_termination_is_killed(tmp_path: Path):
    start(tmp_path, "deaf", STUBBORN)
    log = tmp_path / "logs" / "deaf.log"
    wait_for(tmp_path, "deaf", lambda: "deaf" in log.read_text("utf-8"), 10)
    assert stop(tmp_path, ["deaf"], grace_s=0.3) == ["deaf"]
    assert running(tmp_path, "deaf") is None


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path):
    (tmp_path / "pids").mkdir()
    stale = {"pid": os.getpid(), "created": psutil.Process().create_time() - 100}
    (tmp_path / "pids" / "etcd.json").write_text(json.dumps(stale), "utf-8")
    assert running(tmp_path, "etcd") is None
    assert stop(tmp_path, ["etcd"], grace_s=0.1) == []


def test_a_program_that_dies_at_start_is_reported_with_its_last_words(tmp_path: Path):
    start(tmp_path, "broken", [sys.executable, "-c", "raise SystemExit('no such flag')"])
    with pytest.raises(ControlPlaneError, match="broken exited while starting:\nno such flag"):
        wait_for(tmp_path, "broken", lambda: False, 10)


def test_a_program_that_is_never_ready_is_reported(tmp_path: Path):
    start(tmp_path, "slow", SLEEP)
    with pytest.raises(ControlPlaneError, match=r"slow was not ready after 0 s"):
        wait_for(tmp_path, "slow", lambda: False, 0.3)
    stop(tmp_path, ["slow"], grace_s=5)
