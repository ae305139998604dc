"""A wall clock for one process that a test moves while it runs; its monotonic clock stays true."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hack.controlplane.build import ControlPlaneError
from tests.e2e.conftest import ROOT, unavailable

_FOLDER = ROOT / ".run/faketime"
_LIBRARY = "usr/lib/*/faketime/libfaketimeMT.so.1"


def _library() -> Path:
    """libfaketime of Debian, from a folder where it was unpacked; nothing is installed."""
    if not any(_FOLDER.glob(_LIBRARY)):
        _FOLDER.mkdir(parents=True, exist_ok=True)
        command = "apt-get download libfaketime && dpkg -x libfaketime_*.deb ."
        try:
            subprocess.run(["sh", "-c", command], cwd=_FOLDER, check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            unavailable(ControlPlaneError(f"no libfaketime: {error.stderr.decode()[-300:]}"))
    return next(_FOLDER.glob(_LIBRARY))


class MovedClock:
    """`variables` give a process and its children the clock; `file` says how far it is off."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.move("+0")
        self.variables = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds until a move is noticed
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def move(self, offset: str) -> None:
        """To an offset from the true time, such as `+1d`; noticed within about a second."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)  # at once: it is read all the time
