"""Tells whoever waits for Go how far it is: a first build takes minutes.

`tell` is one function, so that tests can let its lines pass the capture of pytest.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable

EVERY_S = 10.0
DOWNLOAD = "go: downloading "
# What `go build -v` prints for each package that it compiles: its import path and nothing else.
PACKAGE = re.compile(r"[\w.~/-]+")


def tell(line: str) -> None:
    """Say a line to people, at once."""
    print(line, file=sys.stderr, flush=True)


def follow(lines: Iterable[str], clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Count modules and packages as Go names them, and tell the counts every EVERY_S seconds.

    Returns what is left of the lines: what Go said of a failure.
    """
    modules = packages = 0
    said: list[str] = []
    began = told = clock()
    for line in map(str.rstrip, lines):
        if line.startswith(DOWNLOAD):
            modules += 1
        elif PACKAGE.fullmatch(line):
            packages += 1
        else:
            said.append(line)
        if (now := clock()) - told >= EVERY_S:
            told = now
            tell(
                f"  {now - began:.0f} s: {modules} modules downloaded, {packages} packages compiled"
            )
    return said
