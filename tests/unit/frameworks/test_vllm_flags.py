"""No manifest carries a flag that its pinned version lacks: such a server exits at start."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from guide.domain import Slo
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.frameworks.vllm import EXTRA_ARG_FLAGS
from guide.frameworks.vllm_flags import BATCH_FLAGS, BUCKETS, FLAGS, READ, image_version, missing
from guide.manifests.leaderworkerset import leader_worker_sets
from guide.manifests.render import build_objects
from tests.handmade import GROUP, evaluation
from tests.manifest_cases import BATCHES, CASES

OPTIONS = DeploymentOptions(served_name="chat", slo=Slo(ttft_p95_s=0.5, tpot_p95_s=0.007))


@pytest.mark.parametrize("name", CASES | BATCHES)
def test_flags_of_every_manifest_exist_in_its_image(name: str):
    case = (CASES | BATCHES)[name]
    best = case.recommendation.best
    assert best is not None
    for _, value in build_objects(case.plan, best):
        if value["kind"] not in ("Deployment", "Job"):
            continue
        container = value["spec"]["template"]["spec"]["containers"][0]
        if container["command"][0] == "vllm":
            version = image_version(container["image"])
            assert version is not None
            flags = {"serve": FLAGS, "run-batch": BATCH_FLAGS}[container["command"][1]]
            assert missing(container["args"], version, flags) == []


def test_flags_of_replicas_over_nodes_exist():
    wide = replace(GROUP, tp=8, pp=2, replicas=1)
    (sets,) = (
        value
        for _, value in leader_worker_sets(CASES["vllm"].plan, evaluation(wide))
        if value["kind"] == "LeaderWorkerSet"
    )
    for template in ("leaderTemplate", "workerTemplate"):
        (container,) = sets["spec"]["leaderWorkerTemplate"][template]["spec"]["containers"]
        assert missing(container["args"], (0, 33, 0)) == []
        assert "--nnodes=2" in container["args"]


def test_every_flag_that_a_plan_may_add_is_known():
    assert set(FLAGS) >= EXTRA_ARG_FLAGS
    assert all(".".join(map(str, since)) in READ for since in FLAGS.values())


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.33.0", (0, 33, 0)),
        ("registry.example:5000/vllm:0.8.5-cu124@sha256:" + "0" * 64, (0, 8, 5)),
        ("registry.example:5000/vllm:v0.32", (0, 32, 0)),
        ("registry.example:5000/vllm", None),
        ("registry.example/vllm:nightly", None),
        ("registry.example/vllm@sha256:" + "0" * 64, None),
    ],
)
def test_the_version_is_read_from_the_tag(image: str, version: tuple[int, ...] | None):
    assert image_version(image) == version


def test_flags_that_were_removed_or_never_existed_are_missing():
    assert missing(["--swap-space=4", "--num-scheduler-steps=8"], (0, 33, 0)) == [
        "--num-scheduler-steps",
        "--swap-space",
    ]


@pytest.mark.parametrize(
    ("image", "has"),
    [
        ("vllm/vllm-openai:v0.33.0", True),
        ("vllm/vllm-openai:v0.32.0", True),
        ("vllm/vllm-openai:v0.31.0", False),
        ("registry.example/vllm:nightly", False),
    ],
)
def test_buckets_are_written_where_the_version_is_known_to_take_them(image: str, has: bool):
    launch = FRAMEWORKS["vLLM"].launch(GROUP, replace(OPTIONS, images={"vLLM": image}))
    assert any(arg.startswith(BUCKETS) for arg in launch.args) is has


def test_buckets_have_a_boundary_at_each_limit_and_grow():
    launch = FRAMEWORKS["vLLM"].launch(GROUP, OPTIONS)
    (text,) = (a.split("=", 1)[1] for a in launch.args if a.startswith(BUCKETS))
    bounds = json.loads(text)
    assert set(bounds) == {"inter_token_latency", "time_to_first_token"}
    assert 0.007 in bounds["inter_token_latency"]
    assert 0.5 in bounds["time_to_first_token"]
    for values in bounds.values():
        assert values == sorted(set(values))
        assert values[0] > 0


def test_an_image_without_a_flag_is_refused_with_the_version_that_has_it():
    old = replace(
        OPTIONS, images={"vLLM": "vllm/vllm-openai:v0.8.5"}, extra_args=("--enable-log-requests",)
    )
    with pytest.raises(SpecError, match=r"no flag --enable-log-requests.*0\.13\.0"):
        FRAMEWORKS["vLLM"].launch(GROUP, old)
