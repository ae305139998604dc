"""A question without files, and what is said when libraries are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from guide.catalog import load
from guide.cli.extras import how_to_install
from guide.cli.in_words import InWords
from guide.errors import SpecError

CATALOG = load()
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def per_node(*gpu: str) -> list[str]:
    nodes = InWords(model=MODEL, gpu=gpu, rps=1).cluster(CATALOG).nodes
    return [next(iter(node["status"]["allocatable"].values())) for node in nodes]


@pytest.mark.parametrize(
    ("gpu", "nodes"),
    [
        (("2xRTX4090",), ["2"]),
        (("16xH100-SXM",), ["8", "8"]),
        (("3x4xL40S",), ["4", "4", "4"]),
        (("1xL4", "2xMI300X"), ["1", "2"]),
    ],
)
def test_gpus_in_words_are_nodes(gpu: tuple[str, ...], nodes: list[str]):
    assert per_node(*gpu) == nodes


@pytest.mark.parametrize("gpu", ["", "H100-SXM", "0xH100-SXM", "9xH100-SXM", "2x99xL4", "2xabacus"])
def test_what_names_no_nodes_is_one_sentence(gpu: str):
    with pytest.raises(SpecError, match=r"^--gpu ") as caught:
        per_node(gpu)
    assert "\n" not in str(caught.value)


def test_the_plan_says_what_the_flags_say():
    spec = InWords(model=MODEL, users=7, prompt=300, output=40, ttft_ms=900).plan().spec
    assert spec.model.name == MODEL
    assert spec.workload.concurrency == 7
    assert spec.workload.input_tokens.mean == 300
    assert spec.slo.ttft_p95_milliseconds == 900


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (InWords(), "give a plan"),
        (InWords(rps=1), "--model"),
        (InWords(model=MODEL), "--rps and --users"),
        (InWords(model=MODEL, rps=1, users=1), "--rps and --users"),
    ],
)
def test_what_lacks_is_named(words: InWords, lacks: str):
    with pytest.raises(SpecError, match=lacks):
        words.plan()


def test_flags_answer_as_the_plan_that_they_describe():
    command = f"plan --model {MODEL} --gpu 2xRTX4090 --rps 1 --ttft 2000 -o json".split()
    done = subprocess.run([sys.executable, "-m", "guide", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"gpu": "RTX4090"' in done.stdout


WITHOUT = (
    "import sys; sys.modules[{module!r}] = None; sys.argv = {argv!r};"
    "from guide.cli import main; main()"
)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("plan --model x --rps 1", "kubernetes", "cluster"),
        ("inventory", "kubernetes", "cluster"),
        ("serve", "uvicorn", "web"),
        ("calibrate x.json --out y --from-scratch", "scipy", "calibrate"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    command: str, module: str, extra: str
):
    argv = ["guide", *command.split()]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(module=module, argv=argv)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("guide: ")
    assert f"guide-advisor[{extra}]" in done.stderr


def test_the_extra_of_the_command_comes_first():
    assert "[sweep]" in (how_to_install("matplotlib", "sweep") or "")
    assert "[calibrate]" in (how_to_install("matplotlib", "calibrate") or "")
    assert how_to_install("os", "plan") is None
