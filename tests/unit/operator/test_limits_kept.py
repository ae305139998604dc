"""A better number restarts nobody: limits that run are kept while they keep the SLO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Catalog
from guide.live.learn import Correction, Corrections, overlay
from guide.manifests.render import build_objects
from guide.perf.fits import observed_key
from guide.search.assess import assess
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan
from guide_operator import layouts as apply
from hack import nodes as fake
from tests.good_plan import PLAN

CATALOG = load()
WRITTEN = parse_plan(
    {
        **PLAN,
        "metadata": {"name": "chat", "namespace": "ml"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {
                "inputTokens": {"mean": 1024, "p95": 3000},
                "outputTokens": {"mean": 256, "p95": 700},
                "maxContextTokens": 8192,
                "requestsPerSecond": 2,
            },
            "slo": {"tpotP95Milliseconds": 28, "e2eP95Milliseconds": 30000},
            "budget": {"maxGPUs": 1},
            "frameworks": ["vLLM"],
        },
    }
)
ASKED = resolve_plan(WRITTEN, CATALOG)
INVENTORY = read_inventory(fake.nodes({"a100-80": 1}), [], CATALOG)
NOW = "2026-01-01T01:00:00Z"
FIRST = recommend(ASKED, INVENTORY, CATALOG)
assert FIRST.best is not None
GROUP = FIRST.best.groups[0].group
STATUS: dict[str, Any] = {"applied": apply.record(FIRST.best, None, 3), "observedGeneration": 3}
PATIENT = apply.PATIENCE_S + 1


def learnt(step: float) -> Catalog:
    _, key = observed_key(GROUP.gpu, GROUP.framework, GROUP.version, GROUP.model)
    return overlay(CATALOG, Corrections(corrections={key: Correction(step=step, updates=9)}))


def decided(catalog: Catalog, **more: Any) -> tuple[apply.Chosen, Any]:
    answer = recommend(ASKED, INVENTORY, catalog)
    running = assess(ASKED, INVENTORY, catalog, apply.running(STATUS))
    return apply.choose(answer, running, None, PATIENT, NOW, **more), answer


@pytest.mark.parametrize("step", [-0.2, -0.15, -0.1, -0.01])
def test_what_is_learnt_changes_no_argument_while_the_slo_is_kept(step: float):
    catalog = learnt(step)
    chosen, answer = decided(catalog)
    running = assess(ASKED, INVENTORY, catalog, apply.running(STATUS))
    assert running is not None
    assert running.broken is None
    assert apply.identity(answer.best) == apply.identity(running.evaluation)
    best = chosen.recommendation.best
    assert best is not None
    assert best.groups[0].group.limits == GROUP.limits
    assert best.predicted != FIRST.best.predicted  # the numbers are those of today
    before = {name: one for name, one in build_objects(WRITTEN, FIRST.best) if "deploy" in name}
    after = {name: one for name, one in build_objects(WRITTEN, best) if "deploy" in name}
    for name, value in before.items():
        server = value["spec"]["template"]["spec"]["containers"][0]
        assert after[name]["spec"]["template"]["spec"]["containers"][0] == server


def test_some_correction_would_have_changed_an_argument():
    limits = {
        recommend(ASKED, INVENTORY, learnt(step)).best.groups[0].group.limits.max_num_seqs
        for step in (-0.2, 0)
    }
    assert len(limits) == 2


def test_limits_that_break_the_slo_are_replaced_at_once():
    wide = replace(GROUP.limits, max_num_seqs=1)
    status = {**STATUS, "applied": {**STATUS["applied"], "limits": [apply.limits(wide)]}}
    running = assess(ASKED, INVENTORY, CATALOG, apply.running(status))
    assert running is None or running.broken is not None
    chosen = apply.choose(FIRST, running, None, 0, NOW)
    assert chosen.recommendation.best == FIRST.best


def test_an_edit_applies_at_once():
    assert apply.edited(STATUS, 4)
    assert not apply.edited(STATUS, 3)
    chosen, answer = decided(learnt(-0.2), edited=True)
    assert answer.best != FIRST.best
    assert chosen.recommendation.best == answer.best


def test_a_status_of_the_version_before_says_what_runs_in_its_answer():
    from guide.report.status import to_status

    groups = apply.record(FIRST.best, None, 3)["groups"]
    old = {**to_status(FIRST), "applied": {"groups": groups}, "observedGeneration": 3}
    (one,) = apply.running(old)
    assert one.limits == GROUP.limits
    assert not apply.edited(old, 3)
    assert apply.edited(old, 4)


def test_a_longer_context_than_the_servers_accept_is_a_broken_limit():
    longer = replace(ASKED, workload=replace(ASKED.workload, max_context_tokens=16384))
    assert assess(longer, INVENTORY, CATALOG, apply.running(STATUS)) is None
