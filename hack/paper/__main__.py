"""Write docs/paper: the grid, the error tables, the figures, and how they compare; `make paper`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from guide.catalog import load
from hack.paper import findings
from hack.paper.cells import Cell, grid, write
from hack.paper.errors import by_gpu, errors, table
from hack.paper.plots import draw_all

FOLDER = Path("docs/paper")
DATA = Path("tests/accuracy/data")

README = """\
# The paper's evaluation, made anew

Written by `make paper`; do not edit. Everything here comes from the simulator that `guide plan`
uses: the paper's loads are static batches, all requests at t = 0. vLLM is release 0.7.3, the last
with the scheduler that the paper measured; FastGen is 0.3.3. Limits are the frameworks' defaults,
the context is 2,048 tokens. GPUs that no FastGen run measured (all but the 40 GB A100) are
extrapolated from their datasheets.

## The grid (paper 5.1)

[grid.csv](grid.csv) holds {cells} cells: four GPUs, four models, two frameworks, one GPU and tensor
parallelism over two, batches of 4 to 32, prompts of 128 to 1,024 tokens, 256 tokens out. {answered}
cells have an answer; the others cannot run:

{refused}

## Prediction errors (paper 5.2)

|predicted / measured - 1| over the open static-batch measurements of
[tests/accuracy](../../tests/accuracy), all GPUs and models, beside the paper's own numbers. The
shipped constants were fitted on these rows, so this is how well one set of constants describes them
all; [accuracy.md](../accuracy.md) has the errors of rows, models and GPUs that were left out. The
paper measured other runs, so its columns are a yardstick, not a race. Runs that contradict
themselves are left out, as in the fit.

One GPU (the paper's first table):

{single}

Several GPUs (its second table):

{multi}

Batch latency by GPU:

{by_gpu}

## Memory utilisation drops as the batch grows (paper 2.4.1)

![GPU memory that holds weights or live tokens](memory-utilisation.png)

{drops}

**Agrees**: utilisation grows with the batch and drops once the cache is full: within the paper's
batches on the RTX 4090 and the V100, later on the A6000, far beyond them on the A100, which the
paper calls stable. The cause differs in part. The paper blames fragmentation; paged blocks waste at
most one block a sequence, too little to see. Here the fall comes from preempted sequences and from
a last, small wave that leaves the cache empty, so it comes back with every wave; FastGen, which
drops every sequence when it runs out of blocks, falls deepest. **Differs**: the paper's fall is a
cliff in a reading of the allocator; the share of memory that holds live data falls by less.

## vLLM against FastGen (paper 2.4.2)

![Batch latency of vLLM and FastGen over the batch](latency-by-batch.png)

{crossings}

**Agrees**: the larger the batch, the better FastGen stands, and at 32 it is at or ahead of vLLM
wherever the cache holds the batch. **Differs**: once both are warm, FastGen leads from smaller
batches than the paper's 16 to 32. The open FastGen measurements are single calls of a fresh
pipeline, as the paper's probably were; with that first call counted (second column) vLLM leads at
small batches and the crossing moves up. Where the cache overflows, FastGen's flush costs it the
lead again.

## TTFT from one GPU to two (paper 2.4.3)

![TTFT with one and two GPUs over the prompt length](ttft-by-tp.png)

{parallel}

**Agrees**: without NVLink (A6000, RTX 4090) two GPUs answer later than one, the more so the longer
the prompt, and vLLM loses more than FastGen. **Differs**: on the NVLink A100 both gain, as halved
work outweighs the exchange; the paper shows slight gains for FastGen only.

## The best batch depends on task and hardware (paper 2.4.4)

![Output tokens per second over the batch](best-batch.png)

The smallest batch within 5 % of the highest throughput (starred):

{knees}

**Agrees**: heavy prompts saturate a GPU at small batches, light ones scale far further, and smaller
memories cut both short. `guide plan` uses this: `max_num_seqs` of each replica is the largest batch
that memory holds and whose latency at saturation keeps the plan's limits.
"""


def main() -> None:
    """Write the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    cells = list(grid())
    write(FOLDER / "grid.csv", cells)
    drawn = draw_all(FOLDER)
    found = errors(sorted(DATA.glob("*.csv")), load())
    text = README.format(
        cells=len(cells),
        answered=_answered(cells),
        refused=findings.refused(cells),
        single=table(found, "single"),
        multi=table(found, "multi"),
        by_gpu=by_gpu(found),
        drops=findings.drops(drawn["memory-utilisation"]),
        crossings=findings.crossings(drawn["latency-by-batch"]),
        parallel=findings.parallel(drawn["ttft-by-tp"]),
        knees=findings.knees(drawn["best-batch"]),
    )
    (FOLDER / "README.md").write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {FOLDER}.")


def _answered(cells: Sequence[Cell]) -> int:
    return sum(1 for one in cells if not one.reason)


if __name__ == "__main__":
    typer.run(main)
