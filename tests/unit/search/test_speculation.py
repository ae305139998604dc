"""What an answer says of speculative decoding: when it pays, when it hurts, why it is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from guide.catalog import load
from guide.domain import GpuPool, Inventory, Provenance, Recommendation, SpeculationMethod
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS, DeploymentOptions
from guide.models.drafts import prediction_model
from guide.report.document import to_json
from guide.report.speculation import curve
from guide.report.verdict import trust_in
from guide.search.recommend import recommend
from guide.search.space import modelled_release
from guide.spec import parse_plan, resolve_plan

CATALOG = load()
ROOT = Path(__file__).resolve().parents[3]
LLAMA, HEAD = "meta-llama/Llama-3.1-8B-Instruct", "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"
EAGLE = {"method": "EAGLE", "tokens": 3, "acceptancePercent": [80, 70, 60], "draftModel": HEAD}


def asked(
    speculation: dict[str, Any] | None,
    *,
    model: str = LLAMA,
    framework: str = "vLLM",
    gpus: int = 1,
    **load_: Any,
) -> Recommendation:
    workload: dict[str, Any] = {
        "inputTokens": {"mean": 300, "p95": 300},
        "outputTokens": {"mean": 60, "p95": 60},
        **(load_ or {"requestsPerSecond": 2}),
    }
    if speculation is not None:
        workload["speculation"] = speculation
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat"},
            "spec": {
                "model": {"name": model},
                "workload": workload,
                "frameworks": [framework],
                "deployment": {"imageFastGen": "example.com/fastgen:1"},
            },
        }
    )
    pool = GpuPool(
        name="h100",
        gpu=CATALOG.gpus["H100-SXM"],
        product="NVIDIA-H100-80GB-HBM3",
        source="gfd",
        resource="nvidia.com/gpu",
        gpus_per_node=gpus,
        free_gpus_by_node=(gpus,),
    )
    return recommend(resolve_plan(written, CATALOG), Inventory(pools=(pool,)), CATALOG)


@pytest.fixture(scope="module")
def paying() -> Recommendation:
    return asked(EAGLE)


def test_it_pays_on_a_quiet_server_and_says_what_acceptance_that_needs(paying: Recommendation):
    found = paying.speculation
    assert found is not None
    assert found.asked.pays
    assert found.break_even is not None
    assert 0 < found.break_even < 0.6
    (note,) = [note for note in paying.notes if note.startswith("speculation")]
    assert "pays at this load" in note
    assert f"acceptance is your number and must exceed {found.break_even:.0%}" in note
    assert "unmeasured here" in note
    assert paying.best is not None
    assert paying.best.provenance is Provenance.EXTRAPOLATED
    assert "nobody measured speculative decoding here" in trust_in(paying.best)


def test_json_and_table_tell_the_same(paying: Recommendation):
    document = to_json(paying)["speculation"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    assert document["pays"]
    assert document["measured"] is False
    assert document["tokensPerStep"] == pytest.approx(1 + 0.8 + 0.56 + 0.336)
    rows = curve(paying).rows
    assert len(rows) == len(document["curve"])
    assert [row[1] for row in rows].count("asked") == 1
    loads = [point["load"] for point in document["curve"]]
    assert loads == sorted(loads)


def test_it_hurts_where_drafts_do_not_hold_and_the_batch_is_large():
    hopeless = {**EAGLE, "tokens": 8, "acceptancePercent": [5]}
    found = asked(hopeless, concurrency=256)
    assert found.speculation is not None
    assert not found.speculation.asked.pays
    assert any("hurts at this load: leave it out" in note for note in found.notes)
    needed = found.speculation.break_even
    assert needed is None or needed > 0.05


def test_a_batch_is_judged_by_its_time():
    found = asked({**EAGLE, "acceptancePercent": [90]}, offline={"requests": 400})
    assert found.speculation is not None
    assert found.speculation.asked.unit == "requests"
    assert len(found.speculation.curve) == 1


def test_without_speculation_nothing_is_said():
    found = asked(None)
    assert found.speculation is None
    assert "speculation" not in to_json(found)
    assert not [note for note in found.notes if "specul" in note]
    assert not curve(found).rows


def test_what_is_not_modelled_is_left_out_and_said():
    found = asked({"method": "NGram", "tokens": 2, "acceptancePercent": [50]}, framework="FastGen")
    assert found.speculation is None
    assert found.best is not None
    assert (
        "spec.workload.speculation is not part of this answer: with FastGen it is not modelled"
        in found.notes
    )


def test_servers_are_told_to_speculate(paying: Recommendation):
    assert paying.best is not None
    options = DeploymentOptions(served_name="chat")
    args = FRAMEWORKS["vLLM"].launch(paying.best.groups[0].group, options).args
    (given,) = [arg for arg in args if arg.startswith("--speculative-config=")]
    assert given.endswith(f'={{"method":"eagle3","num_speculative_tokens":3,"model":"{HEAD}"}}')
    group = paying.best.groups[0].group
    eagle = group.speculation
    assert eagle is not None
    ngram = replace(eagle, method=SpeculationMethod.NGRAM, draft=None, draft_name=None)
    release = modelled_release(CATALOG, "SGLang")
    for speculation, word in ((eagle, "EAGLE3"), (ngram, "NGRAM")):
        one = replace(group, framework="SGLang", version=release.version, speculation=speculation)
        sglang = FRAMEWORKS["SGLang"].launch(one, options).args
        assert f"--speculative-algorithm={word}" in sglang
        assert "--speculative-num-draft-tokens=4" in sglang
        drafted = f"--speculative-draft-model-path={HEAD}" in sglang
        assert drafted is (speculation is eagle)


@pytest.mark.parametrize(
    ("speculation", "said"),
    [
        (
            {"method": "MTP", "tokens": 1, "acceptancePercent": [80]},
            "spec.workload.speculation.method: MTP needs a layer of multi-token prediction, which "
            f"{LLAMA} lacks",
        ),
        (
            {**EAGLE, "method": "DraftModel", "draftModel": "no/such"},
            "spec.workload.speculation.draftModel: no/such is not in the catalogue",
        ),
        (
            {**EAGLE, "method": "DraftModel", "draftModel": "Qwen/Qwen3-0.6B"},
            "name a model of the same family",
        ),
    ],
)
def test_a_draft_that_cannot_be_is_refused_in_a_sentence(speculation: dict[str, Any], said: str):
    with pytest.raises(SpecError) as refused:
        asked(speculation)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["DeepSeek-V3", "DeepSeek-R1", "DeepSeek-V3.2"])
def test_deepseek_has_a_layer_of_prediction(name: str):
    draft = prediction_model(CATALOG.models[f"deepseek-ai/{name}"])
    assert draft is not None
    assert sum(group.count for group in draft.groups) == 1


def test_the_plan_of_the_documentation_is_one():
    text = (ROOT / "docs/speculation.md").read_text(encoding="utf-8")
    spec = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])["spec"]
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": "chat"},
            "spec": {"model": {"name": LLAMA}, **spec},
        }
    )
    speculation = resolve_plan(written, CATALOG).speculation
    assert speculation is not None
    assert f"{speculation.tokens_per_step:.2f} tokens a step" in text
