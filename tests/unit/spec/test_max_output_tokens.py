"""`workload.maxOutputTokens`: what clients send as max_tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from guide.domain import Lengths, Scheduling, Workload
from guide.errors import SpecError
from guide.simulate.arrivals import most_new_tokens, quantile_tokens, requests_of
from guide.simulate.policy import scheduler_policy
from guide.spec import parse_plan
from tests.toy import release


def plan(**workload: object) -> dict[str, object]:
    lengths = {"inputTokens": {"mean": 500}, "outputTokens": {"mean": 100}}
    return {
        "apiVersion": "guide.dev/v1alpha1",
        "kind": "InferencePlan",
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"name": "a/b"},
            "workload": {**lengths, "requestsPerSecond": 2, **workload},
        },
    }


def test_below_the_mean_it_is_refused_with_a_sentence():
    said = "maxOutputTokens is 99 and below the mean output of 100"
    with pytest.raises(SpecError, match=said):
        parse_plan(plan(maxOutputTokens=99))
    assert parse_plan(plan(maxOutputTokens=100)).spec.workload.to_domain().max_output_tokens == 100


LOAD = Workload(
    prompt=Lengths(mean_tokens=500), output=Lengths(mean_tokens=100), requests_per_s=2.0
)


def test_absent_it_is_what_one_answer_in_a_hundred_exceeds():
    drawn = requests_of(LOAD, 2000, 0, 10**6)
    assert drawn.most_new == most_new_tokens(LOAD)
    assert drawn.most_new == pytest.approx(quantile_tokens(LOAD.output, 0.99), abs=1)
    longer = sum(output > drawn.most_new for output in drawn.outputs)
    assert 10 <= longer <= 30
    assert requests_of(replace(LOAD, max_output_tokens=4096), 600, 0, 10**6).most_new == 4096


@pytest.mark.parametrize("scheduling", list(Scheduling))
def test_only_who_admits_by_it_takes_note(scheduling: Scheduling):
    policy = scheduler_policy(
        release("vLLM", scheduling),
        max_num_seqs=8,
        token_budget=2048,
        block_tokens=16,
        kv_blocks=100,
        most_new_tokens=700,
    )
    admits = scheduling is Scheduling.PREFILL_OR_DECODE
    assert policy.max_new_tokens == (700 if admits else 0)
    assert policy.mixes == (scheduling in (Scheduling.TOKEN_BUDGET, Scheduling.SPLIT_FUSE))
