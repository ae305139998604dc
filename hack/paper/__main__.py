"""Write docs/paper: the grid, the error tables, the figures, and how they compare; `make paper`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from guide.catalog import load
from hack.accuracy import left_out
from hack.paper import findings
from hack.paper.cells import QUANTISED, Cell, grid, write
from hack.paper.errors import by_gpu, errors, table
from hack.paper.plots import draw_all, draw_errors

FOLDER = Path("docs/paper")
DATA = Path("tests/accuracy/data")

README = """\
# The paper's evaluation, made anew

Written by `make paper`; do not edit. Everything here comes from the simulator that `guide plan`
uses: the paper's loads are static batches, all requests at t = 0. vLLM is release 0.7.3, the last
with the scheduler that the paper measured; FastGen is 0.3.3. Limits are the frameworks' defaults,
the context is 2,048 tokens. Which command of the product uses which mechanism stands in
[DESIGN.md](../../DESIGN.md) under "The paper, row by row".

## The grid (paper 5.1)

[grid.csv](grid.csv) holds {cells} cells: four GPUs, four models, two frameworks, one GPU and tensor
parallelism over two, batches of 4 to 32, prompts of 128 to 1,024 tokens, 256 tokens out. {answered}
cells have an answer; the others cannot run:

{refused}

What was measured of the cells, on that GPU and under that framework (Calibrated: other models or
loads there; Extrapolated: relatives alone). The open measurements hold no run of FastGen on another
GPU than the 40 GB A100, and none of vLLM on the V100, the A6000 or the RTX 4090:

{provenances}

[quantised.csv](quantised.csv) is the same grid in 8 and 4 bits, {quantised} cells of which
{quantised_answered} have an answer, from checkpoints that are published and that a framework loads.
The catalogue knows none for chatglm3-6b, whose own code quantises while it loads, and none in 8
bits for opt-6.7b:

{quantised_refused}

## Prediction errors (paper 5.2)

|predicted / measured - 1| over the open static-batch measurements of
[tests/accuracy](../../tests/accuracy), all GPUs and models, beside the paper's own numbers. The
shipped constants were fitted on these rows, so *fitted* is how well one set of constants describes
them all. The other columns are predictions: of rows or models that the fit had not seen
([accuracy.md](../accuracy.md) has more ways). The paper's model was not fitted on what it predicts,
so these are the columns to hold beside its own; it measured other runs, so they are a yardstick, no
race. Runs that contradict themselves are left out, as in the fit.

One GPU (the paper's first table):

{single}

Several GPUs (its second table):

{multi}

One number is worse than the paper's: decode throughput on several GPUs with the model left out.
Nearly all of its runs are Llama-2-70B on the A100, most from one source, so that little is left of
that GPU to learn from.

Batch latency by GPU:

{by_gpu}

By prompt length and batch, with the row left out (the paper's figure 13):

![Batch-latency errors by prompt length and batch](errors-by-size.png)

The paper's errors rise with prompt and batch. Those of vLLM hardly depend on either; those of
FastGen do rise with the prompt, where few runs were measured.

## Memory utilisation drops as the batch grows (paper 2.4.1)

![GPU memory that holds weights or live tokens](memory-utilisation.png)

{drops}

At the paper's own batches (grey: 4 to 32) nothing falls: of {transitions} steps from one batch of
the grid to the next, {falls} lower the utilisation. **Differs**: the paper sees drops there. Here
the share of memory that holds weights and live data falls only once the cache is full, and by
little: in steps of two, as drawn, from batch 12 on the RTX 4090 and 24 on the V100 on, which
doublings of the batch step over; later on the A6000, last on the A100, which the paper calls
stable. That order **agrees**. Qwen2-7B and chatglm3-6b, whose heads share few KV heads, hardly fill
any of these GPUs. The cause differs too. The paper blames fragmentation; paged blocks waste at most
one block a sequence, too little to see. Here the fall comes from preempted sequences and from a
last, small wave that leaves the cache empty, so it comes back with every wave; FastGen, which drops
every sequence when it runs out of blocks, falls deepest. The paper's fall is a cliff in a reading
of the allocator; what is drawn here is what lives in it.

## vLLM against FastGen (paper 2.4.2)

![Batch latency of vLLM and FastGen over the batch](latency-by-batch.png)

Where the lines overlap, their ratio tells more; warm, and with the first call of a fresh pipeline:

![FastGen over vLLM, all models](latency-ratio.png)

{crossings}

**Agrees**: the larger the batch, the better FastGen stands, and at 32 it is at or ahead of vLLM
wherever the cache holds the batch. **Differs**: once both are warm, FastGen leads from smaller
batches than the paper's 16 to 32. The open FastGen measurements are single calls of a fresh
pipeline, as the paper's probably were; with that first call counted (second column) vLLM leads at
small batches and the crossing moves up. Where the cache overflows, FastGen's flush costs it the
lead again.

## TTFT from one GPU to two (paper 2.4.3)

![TTFT with one and two GPUs over the prompt length](ttft-by-tp.png)

![TTFT of two GPUs over that of one, all models](ttft-ratio.png)

{parallel}

**Agrees**: without NVLink (A6000, RTX 4090) two GPUs answer later than one, the more so the longer
the prompt, and vLLM loses more than FastGen; Qwen2-7B, the smallest in hidden size, breaks about
even on the A6000. **Differs**: on the NVLink A100 both gain, as halved
work outweighs the exchange; the paper shows slight gains for FastGen only.

## The best batch depends on task and hardware (paper 2.4.4)

![Output tokens per second over the batch](best-batch.png)

The smallest batch within 5 % of the highest throughput (starred):

{knees}

**Agrees**: heavy prompts saturate a GPU at small batches, light ones scale far further, and smaller
memories cut both short. `guide plan` uses the same rule: `max_num_seqs` of each replica is this
knee, unless a limit, the users of a closed loop or a latency asks for another; `guide plan
-o wide`, REVIEW.md and the page show the curve.
"""


def main() -> None:
    """Write the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    cells, fewer = list(grid()), [one for bits in QUANTISED for one in grid(weights=bits)]
    write(FOLDER / "grid.csv", cells)
    write(FOLDER / "quantised.csv", fewer)
    drawn = draw_all(FOLDER)
    found = errors(sorted(DATA.glob("*.csv")), load(), left_out.read())
    draw_errors(FOLDER, found)
    steps, falls = findings.transitions(cells)
    text = README.format(
        cells=len(cells),
        answered=_answered(cells),
        refused=findings.refused(cells),
        provenances=findings.provenances(cells),
        quantised=len(fewer),
        quantised_answered=_answered(fewer),
        quantised_refused=findings.refused(fewer),
        single=table(found, "single"),
        multi=table(found, "multi"),
        by_gpu=by_gpu(found),
        drops=findings.drops(drawn["memory-utilisation"]),
        transitions=steps,
        falls=falls or "none",
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
