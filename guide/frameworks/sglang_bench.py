"""``sglang.bench_serving`` against a server: its flags in the wheels 0.5.14 to 0.5.23.

Its prompts are random tokens of one length; a common prefix is a dataset of its own. It asks the
server's own API, which needs no name of a model.
"""

from __future__ import annotations

import math

from guide.errors import SpecError
from guide.frameworks.base import BenchLoad

COMMAND = ("python3", "-m", "sglang.bench_serving")


def arguments(model: str, load: BenchLoad) -> tuple[str, ...]:
    """Its arguments for `load`; the result goes into the log, as a line of JSON.

    Raises `SpecError` for arrivals that are not Poisson: it knows no others.
    """
    if load.requests_per_s is not None and load.arrival_cv != 1:
        raise SpecError(
            "spec.workload.arrivalCV: sglang.bench_serving sends Poisson arrivals alone (1): leave "
            "--with-benchmark out, or the field",
            field="spec.workload.arrivalCV",
        )
    rate = (
        f"--max-concurrency={load.concurrency}"
        if load.requests_per_s is None
        else f"--request-rate={load.requests_per_s:g}"
    )
    return (
        "--backend=sglang",
        f"--base-url={load.url}",
        f"--model={model}",
        *_prompts(load),
        f"--num-prompts={load.requests}",
        rate,
        "--disable-tqdm",
        "--output-file=/dev/stdout",
    )


def _prompts(load: BenchLoad) -> tuple[str, ...]:
    if load.prefix_tokens:
        return (
            "--dataset-name=generated-shared-prefix",
            f"--gsp-num-groups={load.groups}",
            f"--gsp-prompts-per-group={math.ceil(load.requests / load.groups)}",
            f"--gsp-system-prompt-len={load.prefix_tokens}",
            f"--gsp-question-len={max(1, load.prompt_tokens - load.prefix_tokens)}",
            f"--gsp-output-len={load.output_tokens}",
        )
    return (
        "--dataset-name=random-ids",  # "random" takes its words from a file that it downloads
        f"--random-input-len={load.prompt_tokens}",
        f"--random-output-len={load.output_tokens}",
        "--random-range-ratio=1",  # all of that length
    )
