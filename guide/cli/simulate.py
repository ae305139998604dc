"""`guide simulate`: a recorded trace of requests, replayed through one layout."""

from __future__ import annotations

from typing import Annotated

import typer

from guide.cli.options import (
    CalibrationFile,
    CandidateNumber,
    GpusFile,
    ModelConfig,
    NodesFile,
    Output,
    OutputFormat,
    PlanFile,
    PodsFile,
    TraceFile,
)


def simulate(
    filename: PlanFile,
    trace: TraceFile,
    nodes: NodesFile = None,
    pods: PodsFile = None,
    candidate: CandidateNumber = 1,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the dice that deal requests to replicas.")
    ] = 0,
    model_config: ModelConfig = None,
    calibration: CalibrationFile = None,
    gpus: GpusFile = None,
    output: OutputFormat = Output.TABLE,
) -> None:
    """Replay a trace of requests through the recommended deployment: percentiles of latency and
    queueing, throughput, KV cache, preemptions.

    The plan chooses the deployment; the trace replaces its lengths and its load, and names no
    prefixes: of those of the plan, the share that was simulated is found in each prompt. Requests
    are dealt to the replicas at random, as a Service does; those of a plan with workload.offline by
    least work. The trace is read as it is served, so that it may have any length; requests may
    stand out of order by up to 4,096 lines. Exit code 0: simulated. 3: infeasible, every reason is
    printed. 2: bad input.
    """
    from guide.cli import show
    from guide.cli.candidate import chosen
    from guide.cli.progress import shown_when_slow
    from guide.cli.question import Extra, ask, read_lines
    from guide.insight.explain import half_widths
    from guide.report.sentences import choice
    from guide.report.simulation import tables, to_document
    from guide.simulate.arrivals import most_new_tokens
    from guide.simulate.play import replay
    from guide.simulate.trace import read_trace

    question = ask(filename, nodes, pods, model_config, calibration, Extra(gpus=gpus))
    evaluation = chosen(question, candidate)
    layout = [(item.group, item.memory) for item in evaluation.groups]
    load, slo = question.plan.workload, question.plan.slo
    hits = [load.as_found(item.report.hit_share).prefix_hit_share for item in evaluation.groups]
    recorded = read_trace(read_lines(trace), "stdin" if str(trace) == "-" else str(trace))
    with shown_when_slow("simulating"):
        played = replay(
            layout,
            recorded,
            hits,
            question.catalog,
            seed=seed,
            slo=slo,
            offline=load.offline is not None,
            most_new_tokens=most_new_tokens(load),
        )
    widths = half_widths(evaluation, question.catalog)
    if output is not Output.TABLE:
        show.document(to_document(evaluation, played, widths), output)
        return
    show.say(choice(evaluation), bold=True)
    for table in tables(played, widths):
        show.print_table(table)
