"""Whole processes: start-up, plans of three sizes, and the peers in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from guide.domain import Budget, ReplicaGroup
from guide.perf.adjust import mean_context_tokens
from guide.search.recommend import recommend
from guide.simulate.capacity import layout_cost
from guide.simulate.tasks import (
    Task,
    TaskTime,
    decode_task,
    prefill_task,
    stepping_of,
    task_seconds,
    task_time,
)
from hack.bench.clusters import CATALOG, CHAT, chat, inventory, write_nodes, write_peer_question
from hack.bench.measure import GUIDE, MIB, Scale, Section, Timed, in_turn, median, table, warm_s

PEER = (
    *("cli", "default", "--model-path", "Qwen/Qwen3-32B", "--total-gpus", "16"),
    *("--system", "h100_sxm", "--backend", "vllm", "--isl", "3000", "--osl", "300"),
    *("--ttft", "1000", "--tpot", "50"),
)
NEEDED = "import numpy, pydantic, yaml, typer, highspy"  # what any such program would load
IMPORT_S, PLAN_S, PEER_RATIO = 0.15, 0.4, 25
OVER_LIBRARIES, PEER_OVER_PLAN = "guide plan over its libraries", "aiconfigurator over guide plan"
PEER_OVER_COMPILED = "aiconfigurator over guide plan, compiled"
GENZ = """
import json, time
from GenZ import decode_moddeling, prefill_moddeling

same = dict(model="llama3_8b", batch_size=1, system_name="H100_GPU", bits="bf16", tensor_parallel=1)
def estimate():
    prefill_moddeling(input_tokens=1024, **same)
    decode_moddeling(input_tokens=1024, output_tokens=128, Bb=1, **same)
estimate()
taken = []
for _ in range({runs}):
    begin = time.process_time()
    estimate()
    taken.append(time.process_time() - begin)
print(json.dumps(sorted(taken)[len(taken) // 2]))
"""


def startup(scale: Scale, folder: Path, installed: Path | None) -> Section:
    """Python, what is imported, `--help`, and `guide plan` with ever more pool types."""
    commands: dict[str, Sequence[str]] = {
        "`python -c pass` (floor)": [sys.executable, "-c", "pass"],
        f"`{NEEDED}` (floor)": [sys.executable, "-c", NEEDED],
        "`import guide.search.recommend`": [sys.executable, "-c", "import guide.search.recommend"],
        "`guide --help`": [GUIDE, "--help"],
    }
    for pools in scale.pools:
        nodes = write_nodes(folder, pools, 4)
        words = [GUIDE, "plan", "-f", str(CHAT), "--nodes", str(nodes)]
        commands[f"`guide plan`, {pools} pool types of 4 nodes"] = words
        if installed is not None:
            commands[f"the same, compiled, {pools} pool types"] = [str(installed), *words[1:]]
    found = in_turn(commands, scale.runs)
    section = Section("Whole processes", [*_processes(found)], [])
    pass_, libraries = list(commands)[:2]
    planned = f"`guide plan`, {scale.pools[0]} pool types of 4 nodes"
    imported = median(found["`import guide.search.recommend`"]).wall_s - median(found[pass_]).wall_s
    plan = median(found[planned]).wall_s
    section.ratio(OVER_LIBRARIES, found[planned], found[libraries])
    section.target(
        "import of the engine", f"< {IMPORT_S:g} s", f"{imported:.2f} s", imported < IMPORT_S
    )
    section.target("whole `guide plan`", f"< {PLAN_S:g} s", f"{plan:.2f} s", plan < PLAN_S)
    section.lines.append(
        f"A plan of {scale.pools[0]} pools takes {section.spread(OVER_LIBRARIES)} as long as to "
        "import the libraries alone. Import is the time beyond that of an empty Python."
    )
    return section


def _processes(found: dict[str, list[Timed]]) -> list[str]:
    medians = {name: median(runs) for name, runs in found.items()}
    least = next(iter(medians.values())).cpu_s
    rows = [
        (
            name,
            f"{run.wall_s:.3f}",
            f"{min(t.wall_s for t in found[name]):.3f} to {max(t.wall_s for t in found[name]):.3f}",
            f"{run.cpu_s:.3f}",
            f"{run.peak_bytes / MIB:.0f}",
            f"{run.cpu_s / least:.1f}",
        )
        for name, run in medians.items()
    ]
    return table(("process", "wall s", "spread", "CPU s", "peak MiB", "x the first, CPU"), rows)


def aiconfigurator(
    scale: Scale, folder: Path, program: str | None, installed: Path | None
) -> Section:
    """The same question to AIConfigurator, in turn with ours: as source, and as pip installs it."""
    section = Section("AIConfigurator", [], [])
    if program is None:
        section.lines.append(
            "Not installed here, so not compared: `python -m venv V && V/bin/pip install "
            "aiconfigurator`, then `make bench PEER=V/bin/aiconfigurator`."
        )
        return section
    ours, theirs = "`guide plan`", "`aiconfigurator cli default`"
    compiled, question = "`guide plan`, compiled", write_peer_question(folder)
    commands: dict[str, Sequence[str]] = {
        ours: [GUIDE, "plan", *question],
        theirs: [program, *PEER],
    }
    if installed is not None:
        commands[compiled] = [str(installed), "plan", *question]
    found = in_turn(commands, scale.peer_runs)
    judged, ratio = PEER_OVER_PLAN, section.ratio(PEER_OVER_PLAN, found[theirs], found[ours])
    if installed is not None:
        judged = PEER_OVER_COMPILED
        ratio = section.ratio(judged, found[theirs], found[compiled])
    section.lines += [
        "Qwen3-32B on 16 H100, 3,000 tokens in, 300 out, TTFT 1 s, TPOT 50 ms, vLLM, most "
        "throughput. Both answer with a configuration; AIConfigurator interpolates measured "
        "kernels and reports the throughput of a batch, GUIDE simulates queues under 8 requests/s. "
        f"It takes {section.spread(PEER_OVER_PLAN)} as long as the source.",
        "",
        *_processes(found),
    ]
    section.target(
        "`guide plan` against `aiconfigurator cli default`",
        f"{PEER_RATIO} x faster",
        section.spread(judged),
        ratio >= PEER_RATIO,
    )
    return section


def genz(scale: Scale, python: str | None) -> Section:
    """One roofline estimate, a prompt and a decode step, against GenZ."""
    section = Section("GenZ", [], [])
    if python is None:
        section.lines.append(
            "Not installed here, so not compared: `python -m venv V && V/bin/pip install "
            "genz-llm`, then `make bench GENZ=V/bin/python`."
        )
        return section
    script = GENZ.format(runs=max(3, scale.runs))
    done = subprocess.run(
        [python, "-c", script], check=True, capture_output=True, text=True, timeout=300
    )
    theirs = float(json.loads(done.stdout.splitlines()[-1]))
    unbounded = replace(chat(), budget=Budget())
    best = recommend(unbounded, inventory(1, 1), CATALOG).best
    if best is None:
        raise RuntimeError("the example has no answer on an H100")
    group = best.groups[0].group
    runs = max(3, scale.runs)
    ours = warm_s(lambda: [estimate(group) for _ in range(100)], runs) / 100
    table_s = warm_s(lambda: [roofline(group) for _ in range(100)], runs) / 100
    section.lines += [
        "One prompt of 1,024 tokens and one decode step of Llama-3.1-8B on an H100, warm.",
        "",
        *table(
            ("estimate", "CPU ms", "x the first"),
            [
                ("GUIDE: roofline by operator (`task_time`)", f"{table_s * 1e3:.3f}", "1"),
                (
                    "GUIDE: fitted step, operators folded once a layout (`task_seconds`)",
                    f"{ours * 1e3:.3f}",
                    f"{ours / table_s:.2f}",
                ),
                (
                    "GenZ: `prefill_moddeling`, `decode_moddeling`",
                    f"{theirs * 1e3:.1f}",
                    f"{theirs / table_s:.0f}",
                ),
            ],
        ),
    ]
    return section


def _tasks(group: ReplicaGroup) -> tuple[Task, Task]:
    context = mean_context_tokens(1024, 128)
    stepping = stepping_of(group)
    return prefill_task(stepping, 1024, 0), decode_task(stepping, 1, context, 1)


def estimate(group: ReplicaGroup) -> float:
    """Seconds of a prompt and of a decode step, as the search estimates them."""
    cost, _ = layout_cost(group, CATALOG)
    return sum(task_seconds(task, cost) for task in _tasks(group))


def roofline(group: ReplicaGroup) -> list[TaskTime]:
    """The same by datasheet: a table of operators under their roofs, as GenZ makes one."""
    return [task_time(task, group) for task in _tasks(group)]
