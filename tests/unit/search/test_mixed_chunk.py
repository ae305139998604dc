"""Decodes in the steps of prompts: a flag of SGLang, tried where running answers wait a little too
long for prompts, written where it wins, and said."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import cast

import pytest

from guide.catalog import load
from guide.cluster.inventory import read_inventory
from guide.domain import Evaluation, Inventory, Lengths, Plan, Slo, Workload
from guide.frameworks import FRAMEWORKS
from guide.frameworks.base import DeploymentOptions
from guide.report.document import to_json
from guide.search.chunks import about_chunk
from guide.search.evaluate import Member, Study, evaluate
from guide.search.explore import survey
from guide.search.knobs import STALL, Judged, settled
from guide.search.operating_point import Replica, with_mixed_chunk
from guide.spec.lock import locked_group
from guide.web.nodes import imagined
from guide.web.state import PoolRow
from guide_operator.layouts import record, running
from tests.handmade import recommendation

CATALOG = load()
REPLICAS = 2
NO_LIMITS = Slo()
FLAG = "--enable-mixed-chunk"


@cache
def cluster() -> Inventory:
    rows = [PoolRow(gpu="A100-80GB", nodes="1", per="8")]
    return read_inventory(imagined(rows, CATALOG), [], CATALOG)


def plan(slo: Slo = NO_LIMITS, framework: str = "SGLang") -> Plan:
    return Plan(
        model=CATALOG.models["meta-llama/Llama-3.1-8B-Instruct"],
        workload=Workload(
            prompt=Lengths(mean_tokens=1024), output=Lengths(mean_tokens=256), requests_per_s=8.0
        ),
        slo=slo,
        frameworks=(framework,),
    )


def study(asked: Plan) -> Study:
    return Study(plan=asked, catalog=CATALOG)


@cache
def replica(framework: str = "SGLang", pp: int = 1) -> Replica:
    """Without another batch or chunk, which would be tried before."""
    found = survey(study(plan(framework=framework)), cluster()).replicas
    one = next(r for r in found if (r.shape.tp, r.shape.pp) == (1, pp))
    return replace(one, smaller=(), chunks=())


@cache
def apart() -> Evaluation:
    return evaluate((Member(replica=replica(), replicas=REPLICAS),), study(plan()))


@cache
def mixed() -> Evaluation:
    one = with_mixed_chunk(replica())
    return evaluate((Member(replica=one, replicas=REPLICAS),), study(plan()))


def under(limit_s: float) -> Judged:
    return settled(replica(), REPLICAS, study(plan(Slo(tpot_p95_s=limit_s))))


@cache
def between() -> float:
    """A TPOT limit that only decodes in the steps of prompts keep."""
    ends = (one.predicted.tpot_interval.upper for one in (apart(), mixed()))
    return sum(ends) / 2


def test_tokens_wait_less_for_prompts():
    assert mixed().predicted.tpot.p95_s < apart().predicted.tpot.p95_s


def test_it_is_turned_on_where_it_keeps_a_limit_alone():
    found, broken = under(between())
    assert broken is None
    group = found.groups[0].group
    assert group.limits.mixed_chunk
    launch = FRAMEWORKS["SGLang"].launch(group, DeploymentOptions(served_name="m"))
    assert FLAG in launch.args
    (said,) = about_chunk(found, CATALOG)
    assert FLAG in said


def test_it_stays_off_where_no_limit_asks_for_it():
    found, broken = under(1.01 * apart().predicted.tpot_interval.upper)
    assert broken is None
    group = found.groups[0].group
    assert not group.limits.mixed_chunk
    launch = FRAMEWORKS["SGLang"].launch(group, DeploymentOptions(served_name="m"))
    assert FLAG not in launch.args
    assert "mixedChunk" not in to_json(recommendation(group))["pareto"][0]["groups"][0]["limits"]


@pytest.mark.parametrize("times", [1.1, 1.3])
def test_it_is_not_simulated_where_it_cannot_help(times: float, monkeypatch: pytest.MonkeyPatch):
    def never(_: Replica) -> Replica:
        raise AssertionError("simulated in vain")

    monkeypatch.setattr("guide.search.knobs.with_mixed_chunk", never)
    upper = apart().predicted.tpot_interval.upper
    _, broken = under(upper / (1 + times * STALL))
    assert broken is not None
    assert broken.margin > STALL


def test_others_have_no_such_flag():
    assert replica().mixable
    assert not replica(pp=2).mixable  # stages in flight are not modelled with it
    assert not replica("vLLM").mixable


def test_it_is_remembered_in_every_record_of_what_runs():
    group = under(between())[0].groups[0].group
    assert locked_group(group).operating_point == group.limits
    found = recommendation(group)
    assert found.best is not None
    applied = record(found.best, None, 1)
    (one,) = running({"applied": cast("dict[str, object]", applied)})
    assert one.limits is not None
    assert one.limits.mixed_chunk
