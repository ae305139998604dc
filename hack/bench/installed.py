"""GUIDE as pip installs it: the wheel of this commit, with a compiled event loop where one can be
built.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hack.bench.measure import GUIDE
from hack.dist import BEGINNING, compiled_wheels, for_this_python, installed, packages


def compiled_program(folder: Path) -> Path | None:
    """The program of an environment with the compiled wheel; None where none can be built."""
    packages(folder / "dist", BEGINNING)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiled_wheels(folder / "dist", BEGINNING, [here])
    wheel = for_this_python(folder / "dist")
    return wheel and installed(wheel, folder)


def page_programs(folder: Path, compiled: Path | None) -> dict[str, Path]:
    """The programs that can serve the page: that of the source, and that of the compiled wheel in
    an environment of its own with what the page needs."""
    source = {"source": Path(GUIDE)}
    wheel = None if compiled is None else for_this_python(folder / "dist")
    if wheel is None:
        return source
    return source | {"compiled": installed(wheel, folder / "page", extra="web")}
