"""Measure everything in one run and write docs/benchmarks.md: ``python -m hack.bench``.

Ratios are taken within the run: what is compared takes turns on the same machine. Other work on the
machine makes times longer; CPU times suffer less. The load average tells of it.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from guide import __version__
from hack.bench import engine, fleet, history, page, processes
from hack.bench.installed import compiled_program, page_programs
from hack.bench.measure import MIB, QUICK, ROOT, Scale, Section, table

FILE = ROOT / "docs/benchmarks.md"
LIBRARIES = ("numpy", "pydantic", "highspy", "fastdigest", "pyarrow", "distributed", "kopf")


def main(
    out: Annotated[Path, typer.Option(help="The document to write.")] = FILE,
    quick: Annotated[bool, typer.Option(help="Just enough to see that all of it runs.")] = False,
    peer: Annotated[
        str, typer.Option(help="The program aiconfigurator, if it is elsewhere than on PATH.")
    ] = "aiconfigurator",
    genz: Annotated[str, typer.Option(help="A Python that has genz-llm.")] = "",
    cluster: Annotated[
        str, typer.Option(help="Kubeconfig of a cluster with the CRD and GPU nodes.")
    ] = "",
) -> None:
    """Measure and write the document."""
    scale = QUICK if quick else Scale()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        program = compiled_program(place) if scale.compiled else None
        pages = page_programs(place, program)
        parts: list[Callable[[], Section]] = [
            lambda: processes.startup(scale, place, program),
            lambda: processes.aiconfigurator(scale, place, shutil.which(peer), program),
            lambda: processes.genz(scale, shutil.which(genz) if genz else None),
            lambda: engine.growth(scale),
            lambda: page.what_ifs(scale, pages),
            lambda: page.unanswered(scale, pages),
            lambda: engine.screening(scale),
            lambda: engine.predictions(scale),
            lambda: engine.simulation(scale),
            lambda: fleet.trace(scale, place, program),
            lambda: fleet.sweep(scale),
            lambda: fleet.operator(cluster or None),
        ]
        sections: list[Section] = []
        for part in parts:
            sections.append(part())
            typer.echo(f"{sections[-1].title}: done", err=True)
    out.write_text(document(sections, sys.argv[1:]), encoding="utf-8")
    past = out.with_name(f"{out.stem}-history.csv")
    history.append(past, sections, commit=_commit(), machine=_processor())
    typer.echo(f"Wrote {out} and {past}.")


def document(sections: list[Section], words: list[str]) -> str:
    """The whole document."""
    command = ["python", "-m", "hack.bench", *(Path(word).name for word in words)]
    targets = [
        (what, wanted, measured, "yes" if met else "**no**")
        for section in sections
        for what, wanted, measured, met in section.targets
    ]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{shlex.join(command)}` (`make bench`) on "
        f"{date.today().isoformat()}, commit {_commit()}; do not edit.",
        "",
        *_machine(),
        "",
        "Processes are timed from start to end by the clock and by `getrusage` of the child: the "
        "median of several runs after one that warms caches, those that are compared in turn. What "
        "runs inside a process is timed by its CPU time, warm.",
        "",
        "## Targets",
        "",
        *table(("what", "target", "measured", "met"), targets),
        "A ratio is the median of the turns, with the least and the greatest; those of past runs "
        "are in [benchmarks-history.csv](benchmarks-history.csv). Work that tests hold is counted, "
        "not timed (`hack/bench/work.yaml`).",
        "",
    ]
    for section in sections:
        lines += [f"## {section.title}", "", *section.lines, ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


def _machine() -> list[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB / 1024
    return [
        f"- Machine: {_processor()}, {memory:.0f} GiB, {platform.system()} {platform.release()}; "
        f"load average at the end {os.getloadavg()[1]:.1f} (1 is the suite itself)",
        f"- GUIDE {__version__}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    ]


if __name__ == "__main__":
    typer.run(main)
