"""GUIDE as pip installs it: the wheel of this commit, with a compiled event loop where one can be
built.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles

from hack.bench.clusters import CHAT, write_nodes
from hack.bench.measure import GUIDE, Scale, Section
from hack.dist import BEGINNING, compiled_wheels, for_this_python, installed, packages

WHAT_IF_MS = 150
OVER_COMPILED = "what-ifs of the source over compiled ones"
WHAT_IFS = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
import guide
from guide.web import engine

plan_file, nodes_file, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
catalog = guide.load_catalog()
plan = guide.resolve_plan(guide.load_plan(plan_file.read_text()), catalog)
nodes = json.loads(nodes_file.read_text())["items"]
inventory = guide.read_inventory(nodes, [], catalog)
engine.start()
engine.answered(plan, inventory)
taken = []
for number in range(count):
    load = replace(plan.workload, requests_per_s=2 + number % 12)
    slo = replace(plan.slo, ttft_p95_s=(0.5, 1.0, 1.5)[(number + number // 12) % 3])
    begin = time.perf_counter()
    engine.answered(replace(plan, workload=load, slo=slo), inventory)
    taken.append(1e3 * (time.perf_counter() - begin))
engine.stop()
print(json.dumps(taken))
"""


def compiled_program(folder: Path) -> Path | None:
    """The program of an environment with the compiled wheel; None where none can be built."""
    packages(folder / "dist", BEGINNING)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiled_wheels(folder / "dist", BEGINNING, [here])
    wheel = for_this_python(folder / "dist")
    return wheel and installed(wheel, folder)


def what_ifs(scale: Scale, folder: Path, program: Path | None) -> Section:
    """Other loads and limits of one plan, asked of the web page's engine: a slider moved."""
    nodes = write_nodes(folder, 3, 4)
    programs = {"source": Path(GUIDE)} | ({} if program is None else {"compiled": program})
    taken: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(scale.what_if_turns):
        for name, one in programs.items():
            words = ("-I", "-c", WHAT_IFS, CHAT, nodes, str(scale.what_ifs))
            done = subprocess.run(
                [one.with_name("python"), *words], check=True, capture_output=True, text=True
            )
            taken[name].append(json.loads(done.stdout))
    section = Section("What-ifs", [], [])
    p95_ms = 0.0
    for name, turns in taken.items():
        each = [ms for turn in turns for ms in turn]
        *_, p95_ms = quantiles(each, n=20, method="inclusive")
        section.lines.append(
            f"- {name}: {len(each)} what-ifs about the example on three pools, each another load "
            "or limit of TTFT, asked of the web page's engine one after the other: "
            f"median {median(each):.0f} ms, p95 {p95_ms:.0f} ms by the clock."
        )
    if "compiled" in taken:
        pairs = zip(taken["source"], taken["compiled"], strict=True)
        section.ratios[OVER_COMPILED] = [sum(source) / sum(fast) for source, fast in pairs]
        section.lines += ["", f"The source takes {section.spread(OVER_COMPILED)} as long."]
    section.target(
        "a what-if, three pools, p95", f"< {WHAT_IF_MS} ms", f"{p95_ms:.0f} ms", p95_ms < WHAT_IF_MS
    )
    return section
