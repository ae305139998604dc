"""``vllm bench serve`` (benchmarks/serve.py, 0.33) against any server of OpenAI's API.

Its prompts are random tokens of one length: all with one beginning, or, as a dataset of its own,
with one of several, each as often as the others and in random order.
"""

from __future__ import annotations

from guide.frameworks.base import BenchLoad

COMMAND = ("vllm", "bench", "serve")


def arguments(model: str, load: BenchLoad) -> tuple[str, ...]:
    """Its arguments for `load`; the result goes into the log, as its last line."""
    return (
        "--backend=openai",
        f"--base-url={load.url}",
        f"--model={model}",
        f"--served-model-name={load.served_name}",
        *_prompts(load),
        "--ignore-eos",
        *_arrivals(load),
        f"--num-prompts={load.requests}",
        "--save-result",
        "--result-dir=/dev",
        "--result-filename=stdout",
    )


def _prompts(load: BenchLoad) -> tuple[str, ...]:
    rest = load.prompt_tokens - load.prefix_tokens
    if load.groups > 1:
        return (
            "--dataset-name=prefix_repetition",
            f"--prefix-repetition-prefix-len={load.prefix_tokens}",
            f"--prefix-repetition-suffix-len={rest}",
            f"--prefix-repetition-num-prefixes={load.groups}",
            f"--prefix-repetition-output-len={load.output_tokens}",
        )
    return (
        "--dataset-name=random",
        f"--random-input-len={rest}",
        f"--random-prefix-len={load.prefix_tokens}",
        f"--random-output-len={load.output_tokens}",
    )


def _arrivals(load: BenchLoad) -> tuple[str, ...]:
    if load.requests_per_s is None:
        return (f"--max-concurrency={load.concurrency}",)
    burstiness = 1 / max(load.arrival_cv, 0.01) ** 2  # the shape of a gamma distribution
    return (f"--request-rate={load.requests_per_s:g}", f"--burstiness={burstiness:g}")
