"""What is taken for lengths that a plan does not state is said wherever it decided something."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from guide.catalog import load
from guide.domain import Catalog, Inventory, Lengths, Plan, Reason, Recommendation, Workload
from guide.search.recommend import recommend
from guide.web.fields import ENTRIES
from tests import toy

ROOT = Path(__file__).resolve().parents[3]
MENDED = "state p95 = mean for fixed lengths"


@cache
def catalog() -> Catalog:
    return load()


def asked(prompt: Lengths, output: Lengths) -> Recommendation:
    model = catalog().models["meta-llama/Llama-3.1-8B-Instruct"]
    workload = Workload(prompt=prompt, output=output, requests_per_s=0.5)
    pool = toy.pool("a", catalog().gpus["A10"], (1,))
    return recommend(Plan(model=model, workload=workload), Inventory(pools=(pool,)), catalog())


@pytest.mark.parametrize(
    ("prompt", "output", "named"),
    [(None, None, "inputTokens and outputTokens"), (None, 60, "inputTokens"), (900, 60, "")],
)
def test_an_assumed_p95_is_named_in_the_answer(prompt: int | None, output: int | None, named: str):
    found = asked(
        Lengths(mean_tokens=500, p95_tokens=prompt), Lengths(mean_tokens=50, p95_tokens=output)
    )
    assert found.best is not None
    sentence = f"no p95 of {named} stated: 2 x the mean assumed; {MENDED}"
    assert (sentence in found.notes) == bool(named)
    assert named or not any("p95" in note for note in found.notes)


def test_a_refusal_that_rests_on_it_says_so():
    long = Lengths(mean_tokens=12_000)
    found = asked(long, Lengths(mean_tokens=64, p95_tokens=64))
    assert found.best is None
    refused = [r.detail for r in found.rejections if r.reason is Reason.DOES_NOT_FIT]
    rested = [detail for detail in refused if "context" in detail]
    assert rested
    assert all("no p95 of inputTokens stated: 4 x the mean reserved" in each for each in rested)
    assert all(MENDED in each for each in rested)
    fixed = asked(replace(long, p95_tokens=12_000), Lengths(mean_tokens=64, p95_tokens=64))
    assert not any("stated" in r.detail for r in fixed.rejections)


def test_the_schema_the_reference_and_the_page_say_what_is_assumed():
    crd = (ROOT / "crds/inferenceplans.yaml").read_text()
    reference = (ROOT / "docs/reference/plan.md").read_text()
    for text in (crd, reference):
        said = " ".join(text.split())
        assert "requests are alike" not in said
        assert said.count("a p95 of twice the mean") == 2
        assert yaml.safe_load(crd)
    assert all("twice the mean" in ENTRIES[name].hint for name in ("input95", "output95"))
