"""Runs a tutorial: its files are written, its commands executed, their output compared.

A ```yaml title="NAME"``` block is a file. In a ```console``` block, a line that begins with ``$ ``
is a command, and the lines below it are what it prints, both streams together; ``...`` stands for
any text, and on a line of its own for any number of lines. The text must match to the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Step:
    """A file to be written (`file`), or a command to be run."""

    text: str
    output: str = ""
    file: str = ""


def steps(markdown: str) -> Iterator[Step]:
    """What a reader would do, in order."""
    for kind, info, body in _FENCE.findall(markdown):
        title = _TITLE.search(info)
        if title:
            yield Step(text=body, file=title.group(1))
        elif kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield Step(text=command, output=output)


def walk(markdown: str, folder: Path, **environment: str) -> int:
    """Do every step inside `folder`; the number of commands that ran."""
    env = {**os.environ, "GUIDE_REPOSITORY": str(ROOT), "LC_ALL": "C.UTF-8", **environment}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    ran = 0
    for step in steps(markdown):
        if step.file:
            target = folder / step.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(step.text, encoding="utf-8")
            continue
        done = subprocess.run(
            ["bash", "-c", step.text],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert matches(step.output, done.stdout), (
            f"$ {step.text}\n--- printed\n{done.stdout}--- promised\n{step.output}"
        )
        ran += 1
    return ran


def matches(promised: str, printed: str) -> bool:
    """Whether what was printed is what the tutorial promises."""
    pattern = ""
    for line in promised.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split("..."))) + r"[ ]*\n"
    return re.fullmatch(pattern, printed) is not None
