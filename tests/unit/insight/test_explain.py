"""`guide explain`: the parts add up to what was predicted, and every number has its origin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guide.catalog import find_gpu, load
from guide.cli.app import app
from guide.cluster.inventory import read_inventory
from guide.domain import Catalog, Evaluation, Plan, StepShape
from guide.errors import SpecError
from guide.insight.breakdown import CONSTANTS, FACTS, breakdown, elasticities
from guide.insight.explain import Explanation, explain
from guide.models.precision import PRECISIONS
from guide.perf.fits import PARAMETERS, constants, latent_centre, spreads_of
from guide.perf.formula import step_seconds
from guide.perf.ops import Layout
from guide.perf.roofline import typical_decode
from guide.perf.step import fold
from guide.perf.terms import StepFacts, StepParams, Traits
from guide.report.explain import MEANINGS, tables
from guide.search.recommend import recommend
from guide.spec import load_plan, resolve_plan
from tests.unit.cli.test_cli import NODES, PLAN

CATALOG: Catalog = load()
PRIOR, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})
SHAPE = StepShape(700, 2, 9e5, 4e5, 40, 9e4, 5e4, 41)


def facts(model: str, tp: int) -> StepFacts:
    gpu = find_gpu(CATALOG, "H100-SXM")
    assert gpu is not None
    traits = Traits(paged_attention=True)
    arch = CATALOG.models[model]
    return fold(arch, gpu, PRECISIONS["bf16"], Layout(tp=tp), traits=traits)


@pytest.mark.parametrize(
    ("model", "tp"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 1),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 4),
        ("openai/gpt-oss-120b", 2),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 4),
    ],
)
def test_the_parts_add_up_to_the_step(model: str, tp: int):
    parts = breakdown(facts(model, tp), PRIOR, SHAPE)
    assert sum(parts.values()) == pytest.approx(step_seconds(facts(model, tp), PRIOR, SHAPE))
    assert (parts["network"] > 0) == (tp > 1)
    assert (parts["experts"] > 0) == (CATALOG.models[model].experts > 0)


def test_every_constant_and_every_time_belongs_to_a_part():
    priced = {name for names in CONSTANTS.values() for name in names}
    assert priced == set(StepParams._fields)
    timed = {name for name in StepFacts._fields if name.endswith("_s") or name == "all_reduces"}
    assert {name for names in FACTS.values() for name in names} == timed
    assert set(MEANINGS) == {q.name for q in PARAMETERS}


def test_elasticities_tell_what_a_step_waits_for():
    found = elasticities(facts("meta-llama/Llama-3.1-8B-Instruct", 1), PRIOR, SHAPE)
    assert found["share_c"] < -0.1  # a faster GEMM shortens a step of 740 tokens
    assert found["cl"] > 0
    assert found["share_l"] == 0  # no link at TP 1


@pytest.fixture(scope="module")
def answered() -> tuple[Plan, Evaluation]:
    import yaml

    plan = resolve_plan(load_plan(PLAN), CATALOG, None)
    nodes = yaml.safe_load(NODES)["items"]
    best = recommend(plan, read_inventory(nodes, [], CATALOG), CATALOG).best
    assert best is not None
    return plan, best


@pytest.fixture(scope="module")
def explained(answered: tuple[Plan, Evaluation]) -> Explanation:
    plan, best = answered
    return explain(best, plan, CATALOG)


def test_it_takes_the_very_prediction_apart(explained: Explanation, answered):
    _, best = answered
    group = explained.groups[0]
    assert explained.evaluation is best
    spent = sum(group.reserved.values())
    assert spent == pytest.approx(best.groups[0].memory.reserved_bytes)
    tokens = group.decode.shape.decode_sequences
    assert tokens == pytest.approx(max(1, best.groups[0].report.batch_mean))
    # a decode step is what a token takes, so the mean TPOT lies between it and a few prompt steps
    assert group.decode.seconds < best.predicted.tpot.mean_s < 3 * group.decode.seconds


def test_no_operator_beats_its_roof(explained: Explanation):
    for view in (explained.groups[0].decode, explained.groups[0].prompt):
        dense = sum(r.seconds for r in view.roofs if r.name in ("mlp", "attention projections"))
        assert view.parts["dense"] > 0.99 * dense


def test_utilisation_and_littles_law_use_the_offered_load(explained: Explanation):
    group = explained.groups[0]
    evaluated = group.evaluated
    assert group.arrivals_per_s == pytest.approx(8 / evaluated.group.replicas)
    assert group.utilisation == pytest.approx(group.arrivals_per_s / evaluated.max_requests_per_s)
    assert group.in_system == pytest.approx(evaluated.report.batch_mean, rel=0.5)


def test_a_constant_names_the_levels_that_moved_it(answered: tuple[Plan, Evaluation]):
    plan, best = answered
    moved = {("all", "*"): {"share_w": 0.5, "c0": 0.001}, ("vendor", "nvidia"): {"share_w": 9.0}}
    fits = replace(CATALOG.fits, rows=moved, points=dict.fromkeys(moved, 7), notes={}, residuals={})
    found = explain(best, plan, replace(CATALOG, fits=fits)).groups[0]
    by_name = {constant.name: constant for constant in found.constants}
    assert by_name["share_w"].provenance == "at a bound"
    assert [entry[2] for entry in by_name["share_w"].moved_by] == [7, 7]
    assert by_name["c0"].provenance == "prior"
    assert found.assumed_intervals


def test_prompts_wait_alone_where_they_run_first(answered: tuple[Plan, Evaluation]):
    plan, best = answered
    item = best.groups[0]
    old = next(r for r in CATALOG.releases if r.scheduling.value == "PrefillFirst")
    group = replace(item.group, framework=old.framework, version=old.version)
    evaluation = replace(best, groups=(replace(item, group=group),))
    shape = explain(evaluation, plan, CATALOG).groups[0].prompt.shape
    assert (shape.decode_sequences, shape.prefill_tokens) == (0, 1024)
    assert shape.attended_pairs == 1024 * 1025 / 2
    assert typical_decode(group, item.report, plan.workload).decode_sequences >= 1


def test_every_row_has_a_cell_for_every_head(explained: Explanation):
    for table in tables(explained):
        assert table.rows, table.title
        assert all(len(row) == len(table.heads) for row in table.rows), table.title


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "nodes.yaml").write_text(NODES)
    return tmp_path


def command(files: Path, *more: str) -> Result:
    arguments = ("explain", "-f", str(files / "plan.yaml"), "--nodes", str(files / "nodes.yaml"))
    return CliRunner().invoke(app, [*arguments, *more])


def test_the_command_prints_tables_and_json(files: Path):
    text = command(files).output
    for words in ("Decode step", "Prompt step", "Where the time", "Memory", "Queueing", "90 %"):
        assert words in text
    document = json.loads(command(files, "-o", "json").output)
    assert document["kind"] == "Explanation"
    step = document["groups"][0]["decodeStep"]
    assert sum(step["secondsByPart"].values()) == pytest.approx(step["seconds"], rel=1e-3)
    assert {c["name"] for c in document["groups"][0]["constants"]} == {
        q.name for q in PARAMETERS if spreads_of(q, kernels=True)
    }


def test_another_candidate_is_another_layout(files: Path):
    first, second = (json.loads(command(files, "--candidate", n, "-o", "json").output)
                     for n in ("1", "2"))  # fmt: skip
    assert first["evaluation"]["groups"] != second["evaluation"]["groups"]
    assert isinstance(command(files, "--candidate", "9").exception, SpecError)


def test_an_infeasible_plan_prints_its_reasons(files: Path):
    (files / "plan.yaml").write_text(PLAN + "  slo: {ttftP95Milliseconds: 1}\n")
    result = command(files)
    assert result.exit_code == 3
    assert "MissesTTFT" in result.output
