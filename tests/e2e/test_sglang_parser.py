"""Every argv of SGLang that GUIDE writes, and every metric that it reads, in SGLang's own wheels.

They are fetched once into the cache of the user. What their parser imports wants torch with CUDA,
so `tests.e2e.sglang_parser` puts stand-ins there: what is parsed is the wheel's, what follows (its
own choices of a backend, memory) is not run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guide.domain import Limits, ReplicaGroup, Slo
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import BenchLoad, DeploymentOptions
from guide.frameworks.sglang_bench import arguments
from guide.frameworks.sglang_flags import EXTRA, FLAGS, GRAPH, has
from guide.models.precision import PRECISIONS
from hack.controlplane.build import ControlPlaneError, cache_dir, locked
from tests.e2e.conftest import unavailable
from tests.handmade import GROUP, V100

SGLANG = FRAMEWORKS["SGLang"]
READER = Path(__file__).with_name("sglang_parser.py")
VERSIONS = ("0.5.23", "0.5.19", "0.5.14")
FREE = ("--trust-remote-code", "--revision=main", "--chat-template=/chat.jinja", "--log-level=info")
SLO = Slo(ttft_p95_s=0.5, tpot_p95_s=0.05, e2e_p95_s=10)
LIMITS = Limits(
    max_num_seqs=128,
    max_num_batched_tokens=8192,
    gpu_memory_utilization=0.828,
    max_model_len=16384,
)
PLAIN = replace(GROUP, framework="SGLang", version="0.5.23", limits=LIMITS)
GROUPS = {
    "plain": PLAIN,
    "stages": replace(PLAIN, pp=2),
    "fp8": replace(
        PLAIN, precision=PRECISIONS["fp8"], limits=replace(LIMITS, kv_cache_dtype="fp8")
    ),
    "mixed": replace(PLAIN, limits=replace(LIMITS, mixed_chunk=True)),
    "turing": replace(
        PLAIN,
        pool=replace(PLAIN.pool, gpu=replace(V100, name="T4", compute_capability=(7, 5))),
    ),
}


def parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def fetched(version: str) -> Path:
    """The unpacked wheel, with the one library that its parser needs."""
    folder = cache_dir().parent / "sglang" / version
    with locked(folder.parent / "lock"):
        if not (folder / "sglang").exists():
            uv = Path(sys.executable).with_name("uv")
            words = (uv, "pip", "install", "--quiet", "--no-deps", "--target", folder)
            wanted = (f"sglang=={version}", "msgspec", "typing_extensions")
            done = subprocess.run([*words, *wanted], capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines()
                unavailable(ControlPlaneError(f"SGLang {version} cannot be fetched: {said[-1:]}"))
    return folder


def read(version: str, argvs: Sequence[Sequence[str]]) -> tuple[set[str], list[Any]]:
    """The flags of this version, and what its parser makes of each argv."""
    done = subprocess.run(
        [sys.executable, READER, fetched(version)],
        input=json.dumps(argvs),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return set(found["flags"]), found["answers"]


def argv(group: ReplicaGroup, version: str, *extra: str) -> tuple[str, ...]:
    options = DeploymentOptions(
        served_name="chat",
        images={"SGLang": f"lmsysorg/sglang:v{version}"},
        extra_args=extra,
        slo=SLO,
    )
    return SGLANG.launch(group, options).args


@pytest.mark.parametrize("version", VERSIONS)
def test_the_parser_of_the_wheel_takes_every_argv(version: str):
    argvs = [argv(group, version) for group in GROUPS.values()]
    argvs.append(argv(PLAIN, version, *FREE))
    image = f"lmsysorg/sglang:v{version}"
    for leader in (True, False):
        spread = SGLANG.on_node(image, 2, leader)
        ranked = (one.replace("$(LWS_WORKER_INDEX)", "1") for one in spread)
        argvs.append((*argv(PLAIN, version), *ranked))
    _, answers = read(version, argvs)
    assert [one for one in answers if isinstance(one, str)] == []
    for one in answers:
        assert (one["host"], one["port"], one["served_model_name"]) == ("0.0.0.0", 30000, "chat")
        assert (one["max_running_requests"], one["chunked_prefill_size"]) == (128, 8192)
        assert one["mem_fraction_static"] == 0.828
        assert one["context_length"] is not None  # a stand-in reads its number
        assert one["enable_metrics"]
        assert one["bucket_time_to_first_token"][0] == 0.005
    plain, stages, fp8, mixed, turing = answers[:5]
    assert plain["cuda_graph_max_bs_decode"] == 128
    assert stages["pp_size"] == 2
    assert (fp8["quantization"], fp8["kv_cache_dtype"]) == ("fp8", "fp8_e4m3")
    assert (plain["enable_mixed_chunk"], mixed["enable_mixed_chunk"]) == (False, True)
    assert turing["dtype"] == "half"
    assert [(one["nnodes"], one["node_rank"]) for one in answers[-2:]] == [(2, 0), (2, 1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_of_flags_is_that_of_the_parser(version: str):
    """argparse completes what is short for one flag alone, so a flag that it lacks must be refused
    by name: those that GUIDE does not count as there.
    """
    flags, _ = read(version, [])
    assert len(flags) > 400
    assert {flag for flag in FLAGS if has(flag, parts(version))} == flags & FLAGS.keys()
    assert flags >= {flag for flag in EXTRA if has(flag, parts(version))}


@pytest.mark.parametrize("version", VERSIONS)
def test_its_benchmark_has_every_flag_that_a_job_gives(version: str):
    """By their names in its source, which declares them where it runs."""
    load = BenchLoad(
        url="http://chat",
        served_name="chat",
        prompt_tokens=100,
        prefix_tokens=0,
        output_tokens=10,
        requests=100,
        requests_per_s=2.0,
        concurrency=None,
    )
    given = {*arguments("m", load), *arguments("m", replace(load, prefix_tokens=25))}
    given |= {*arguments("m", replace(load, requests_per_s=None, concurrency=8))}
    folder = fetched(version) / "sglang"
    sources = [folder / "bench_serving.py", folder / "benchmark" / "serving.py"]
    text = "".join(source.read_text("utf-8") for source in sources if source.exists())
    assert [one for one in given if f'"{one.partition("=")[0]}"' not in text] == []
    for choice in ("sglang", "random-ids", "generated-shared-prefix"):
        assert f'"{choice}"' in text


SINCE = {"sglang:request_time_per_output_token_seconds": (0, 5, 22)}
SINCE |= dict.fromkeys(
    (gauge.partition("{")[0] for gauge in SGLANG.metrics.started.values()), (0, 5, 17)
)
SINCE["sglang:max_total_num_tokens"] = (0, 5, 6)


def families() -> set[str]:
    names = SGLANG.metrics
    found = {name for group in names.histograms.values() for name in group}
    found |= {names.ended, names.failed, names.output_tokens, names.running, names.waiting}
    found |= {*names.kv_share, *names.prefix, names.preemptions}
    return found | SINCE.keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_metrics_that_are_read_are_those_of_the_wheel(version: str):
    """By their names in its sources: a quantity that has two is told by the other before."""
    sources = (fetched(version) / "sglang" / "srt").rglob("*metrics*.py")
    text = "".join(source.read_text("utf-8") for source in sources)
    told = {name for name in families() if f'"{name}"' in text}
    assert told == {name for name in families() if SINCE.get(name, (0,)) <= parts(version)}


def test_a_parser_refuses_what_has_gone():
    _, answers = read("0.5.23", [("--model-path=m", f"{GRAPH}=8"), ("--model-path=m", "--no-such")])
    assert "ambiguous option" in answers[0]
    assert "unrecognized arguments" in answers[1]
