"""What the README shows of `make demo` is what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SHOWN = re.compile(r"(?<=and prints:\n\n```\n).*?(?=\n```\n)", re.DOTALL)


def printed() -> str:
    command = [sys.executable, "-m", "guide", "plan", "-f", "examples/chat.yaml"]
    found = subprocess.run(
        [*command, "--nodes", "examples/nodes.yaml"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.rstrip() for line in found.stdout.splitlines())
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip()


def test_the_readme_shows_what_the_demo_prints():
    text = README.read_text(encoding="utf-8")
    now = printed()
    if os.environ.get("GUIDE_UPDATE_GOLDEN"):
        README.write_text(SHOWN.sub(lambda _: now, text, count=1), encoding="utf-8")
    shown = SHOWN.search(README.read_text(encoding="utf-8"))
    assert shown is not None
    assert shown.group() == now
