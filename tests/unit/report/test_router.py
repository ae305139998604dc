"""REVIEW.md says what keeps prefix hits over several replicas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guide.report.review import review_markdown
from tests.manifest_cases import CASES, SGLANG, Case


def review(case: Case) -> str:
    return review_markdown(case.plan, case.recommendation)


def with_hits(percent: int) -> Case:
    workload: dict[str, Any] = CASES["sglang"].plan.spec.workload.model_dump(
        by_alias=True, exclude_none=True
    )
    return replace(
        CASES["sglang"], spec={"workload": {**workload, "prefixCacheHitPercent": percent}}
    )


@pytest.mark.parametrize(
    ("percent", "said"),
    [(0, "its Service is enough"), (30, "the 30 % of prompt tokens that the plan counts as seen")],
)
def test_several_replicas_do_not_share_a_prefix_cache(percent: int, said: str):
    text = review(with_hits(percent))
    assert "## Router" in text
    assert "--policy=cache_aware" in text
    assert said in text


def test_one_replica_and_other_frameworks_need_no_router_of_it():
    alone = replace(CASES["sglang"], groups=(replace(SGLANG, replicas=1),))
    assert "## Router" not in review(alone)
    assert "## Router" not in review(CASES["vllm"])
