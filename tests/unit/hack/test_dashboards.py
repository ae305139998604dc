"""What a linter for Grafana would ask of the dashboards, and that they read metrics that exist."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from guide.frameworks.base import DEFAULT_BUCKETS
from guide.frameworks.fastgen_watch import Metrics as ProxyMetrics
from guide.live import queries as q
from guide_operator.metrics import Metrics
from hack.dashboards import FOLDER, ROOT, files
from hack.rules import RUNBOOKS, rules

# Of vLLM 0.33 and, where a name was another, of the releases before; without suffixes.
VLLM = {name for names in q.HISTOGRAMS.values() for name in names} | {
    "vllm:generation_tokens",
    "vllm:gpu_cache_usage_perc",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:request_success",
}
UNITS = {"bytes", "currencyUSD", "none", "percentunit", "reqps", "s", "short"}
NAME = re.compile(r"\b(?:vllm:|guide_|plan:)\w+(?::\w+)?")
SUFFIX = re.compile(r"_(?:bucket|sum|count|total)$")
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels() -> list[Any]:
    return [
        pytest.param(panel, id=f"{name}: {panel['title']}")
        for name, board in BOARDS.items()
        for panel in board["panels"]
    ]


def ours() -> set[str]:
    """Names that the operator exports, without suffixes."""
    return {SUFFIX.sub("", family.name) for family in Metrics().registry.collect()}


def unknown(expression: str, known: set[str]) -> set[str]:
    found = set(NAME.findall(expression))
    return {name for name in found if name not in known and SUFFIX.sub("", name) not in known}


def test_there_are_the_three_dashboards_with_identities_of_their_own():
    assert set(BOARDS) == {"guide-accuracy.json", "guide-fleet.json", "guide-plan.json"}
    for key in ("uid", "title"):
        assert len({board[key] for board in BOARDS.values()}) == len(BOARDS)


def lost(board: Any, again: Any, path: str = "") -> list[str]:
    """Fields of a dashboard that are others, or gone, once Grafana's types have read it."""
    if isinstance(board, dict) and isinstance(again, dict):
        fields = {key: value for key, value in board.items() if value is not None}
        gone = [f"{path}.{key}" for key in fields.keys() - again.keys()]
        here = fields.keys() & again.keys()
        return gone + [w for key in here for w in lost(board[key], again[key], f"{path}.{key}")]
    if isinstance(board, list) and isinstance(again, list) and len(board) == len(again):
        pairs = enumerate(zip(board, again, strict=True))
        return [w for n, (one, two) in pairs for w in lost(one, two, f"{path}[{n}]")]
    return [] if board == again else [f"{path}: {board!r} became {again!r}"]


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_types_read_a_dashboard_and_lose_nothing(name: str):
    def reads(board: Any) -> Any:
        return json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))

    register_default_plugins()
    assert not lost(BOARDS[name], reads(BOARDS[name]))
    wrong = {**BOARDS[name], "titel": "a field that Grafana has not"}
    assert lost(wrong, reads(wrong)) == [".titel"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_numbers_and_places_of_their_own(name: str):
    found = BOARDS[name]["panels"]
    for key in ("id", "title"):
        assert len({panel[key] for panel in found}) == len(found)
    for one, two in combinations([panel["gridPos"] for panel in found], 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        assert apart, (one, two)
        assert max(place["x"] + place["w"] for place in (one, two)) <= 24


@pytest.mark.parametrize("panel", panels())
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]):
    assert panel["title"].strip()
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["options"]["legend"]["showLegend"] is True
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert all(legends)
    assert len(set(legends)) == len(legends)
    for rule in panel["fieldConfig"]["overrides"]:  # a band is drawn between curves that exist
        assert rule["matcher"]["options"] in legends


@pytest.mark.parametrize("panel", panels())
def test_a_panel_asks_the_data_source_of_the_variable_for_metrics_that_exist(panel: dict[str, Any]):
    known = ours() | VLLM
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert unknown(target["expr"], known) == set()
        fixed = re.findall(r"\[(?!\$__rate_interval\])[^\]]*\]", target["expr"])
        assert not fixed, "a rate over a fixed window is empty or jagged at another resolution"


def test_a_legend_names_labels_that_its_query_keeps():
    for name, board in BOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    by = re.findall(r"by \(([^)]*)\)", target["expr"])
                    kept = by[0].split(", ") if by else [label]
                    assert label in kept, (name, panel["title"], label)


def test_rules_read_metrics_that_exist():
    groups = rules()["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    for group in groups:
        for rule in group["rules"]:
            assert unknown(rule["expr"], ours() | VLLM | recorded) == set()


def test_every_alert_has_a_page_on_what_to_do():
    found = [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]
    pages = {rule["annotations"]["runbook_url"] for rule in found}
    assert all((ROOT / page).read_text().startswith(f"# {Path(page).stem}\n") for page in pages)
    assert {str(p.relative_to(ROOT)) for p in (ROOT / RUNBOOKS).glob("*.md")} == pages


def test_a_name_that_nobody_exports_is_found():
    assert unknown("rate(vllm:time_to_first_tokens_seconds_sum[5m])", VLLM) == {
        "vllm:time_to_first_tokens_seconds_sum"
    }


def test_the_proxy_of_fastgen_exports_names_of_vllm_alone():
    registry = ProxyMetrics("m", 1, dict(DEFAULT_BUCKETS)).registry
    found = {family.name for family in registry.collect()}
    assert found <= VLLM | {"vllm:prompt_tokens"}
    assert found >= {names[0] for key, names in q.HISTOGRAMS.items() if key != "queue"}


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_dashboards_and_rules_are_as_generated(path: Path):
    assert path.read_text() == files()[path], "run: make generate"


def test_panels_select_a_data_source_and_a_plan():
    for path, text in files().items():
        if path.suffix != ".json":
            continue
        board = json.loads(text)
        assert board["templating"]["list"][0]["name"] == "datasource"
        for panel in board["panels"]:
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"].endswith(".")
            ids = [target["refId"] for target in panel["targets"]]
            assert len(set(ids)) == len(ids) > 0
