"""`guide` starts fast: importing the engine loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    *("distributed", "fastapi", "kopf", "kubernetes", "matplotlib", "prometheus_client", "pyarrow"),
    *("scipy", "uvicorn"),
)


def test_importing_the_engine_loads_no_heavy_library():
    script = f"import guide, sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert loaded == "[]"
