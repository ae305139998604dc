"""Counts the work of README's plan, and where it grew: `python -m hack.bench.work [--accept]`.

Times differ by machine and by hour; counts do not. What is counted are the calls of functions of
`guide/` in one cold process, by room, and the modules of others that it loads. CPU instructions
would be finer, but virtual machines seldom lend their counters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
import yaml

from hack.bench.measure import ROOT

FILE = Path(__file__).with_suffix(".yaml")
GROWTH = 0.15  # by which a count may grow, relative
LEAST = 0.01  # of all calls: smaller rooms count towards the sum alone
PLAN = ("plan", "-f", "examples/chat.yaml", "--nodes", "examples/nodes.yaml", "-o", "json")
HEADER = """\
# Work of `guide plan -f examples/chat.yaml --nodes examples/nodes.yaml`: calls of functions of
# guide/ by room, and modules of others that it loads. Written by `make counts`; a test fails where
# one grew by more than 15 %.
"""
# Without what compilers of a Python version treat differently: comprehensions, written methods.
_COUNTER = """
import cProfile, json, os, sys
from collections import Counter
import guide
from guide.cli import main

profile = cProfile.Profile(builtins=False)
profile.enable()
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    profile.disable()
rooms, home = Counter(), os.path.dirname(guide.__file__) + os.sep
for entry in profile.getstats():
    file = entry.code.co_filename
    if file.startswith(home) and not entry.code.co_name.startswith(("<", "__annotate")):
        rooms[file.removeprefix(home).split(os.sep)[0].removesuffix(".py")] += entry.callcount
tops = [name.partition(".")[0] for name in sys.modules]
others = sum(top not in sys.stdlib_module_names and top != "guide" for top in tops)
print(json.dumps({"calls": rooms, "modules": others}), file=sys.stderr)
"""

Counts = dict[str, int]


def count() -> Counts:
    """The counts of one run: `all calls`, those of the greatest rooms, and `modules of others`."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNTER, *PLAN],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    found = json.loads(done.stderr.splitlines()[-1])
    calls: Counts = found["calls"]
    total = sum(calls.values())
    greatest = {room: n for room, n in sorted(calls.items()) if n > LEAST * total}
    rooms = {f"calls in {room}": n for room, n in greatest.items()}
    return {"all calls": total, **rooms, "modules of others": found["modules"]}


def stored(path: Path = FILE) -> Counts:
    """The counts that were accepted."""
    return yaml.safe_load(path.read_text("utf-8"))


def grown(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """A sentence for each count that grew by more than GROWTH."""
    return [
        f"{what}: {was:,} before, {now.get(what, 0):,} now ({now.get(what, 0) / was - 1:+.0%})"
        for what, was in before.items()
        if now.get(what, 0) > (1 + GROWTH) * was
    ]


def main(
    accept: Annotated[bool, typer.Option("--accept", help="Store the counts of today.")] = False,
) -> None:
    """Count, compare with what is stored, and exit 1 where the work grew."""
    now = count()
    typer.echo(yaml.safe_dump(now, sort_keys=False), nl=False)
    if accept:
        FILE.write_text(HEADER + yaml.safe_dump(now, sort_keys=False), "utf-8")
    elif said := grown(stored(), now):
        typer.echo("\n".join(said), err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
