"""The JSON model of Grafana, as far as the dashboards of the chart need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

LIMIT = "limit"  # the legend of a plan's limit
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A panel: (PromQL, legend) pairs; several lines are several queries."""

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


def dashboard(uid: str, title: str, panels: list[Panel], per_plan: bool) -> Object:
    """The JSON model of a dashboard: two panels a row."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["guide", "llm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables(per_plan)},
        "annotations": {"list": []},
        "links": links(per_plan),
        "panels": [panel(index, one) for index, one in enumerate(panels)],
    }


def links(per_plan: bool) -> list[Object]:
    """To the other dashboards with the same time and plan, and to the page of the plan."""
    shared = {"includeVars": True, "keepTime": True, "targetBlank": False}
    found: list[Object] = [
        {**shared, "type": "dashboards", "title": "GUIDE", "tags": ["guide"], "asDropdown": True}
    ]
    if per_plan:
        url = "${page}/plans/${namespace}/${plan}"
        found.append({"type": "link", "title": "This plan", "url": url, "targetBlank": True})
    return found


def variables(per_plan: bool) -> list[Object]:
    """The data source, and which plan."""
    found: list[Object] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    ]
    if per_plan:
        found.append(
            {
                "name": "page",
                "label": "Address of GUIDE's page",
                "type": "textbox",
                "query": "http://127.0.0.1:8000",
            }
        )
        for name, labels in (("namespace", ""), ("plan", '{namespace="$namespace"}')):
            query = f"label_values(guide_plan_feasible{labels}, {name})"
            found.append(
                {
                    "name": name,
                    "label": name.capitalize(),
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": query, "refId": name},
                    "refresh": 2,
                    "sort": 1,
                }
            )
    return found


def panel(index: int, one: Panel) -> Object:
    """The JSON model of a panel."""
    return {
        "id": index + 1,
        "type": one.kind,
        "title": one.title,
        "description": one.about,
        "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 12 * (index % 2), "y": 8 * (index // 2)},
        "fieldConfig": {
            "defaults": {"unit": one.unit, "min": None if one.unit == "none" else 0},
            "overrides": _overrides(one),
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(one.queries)
        ],
    }


def _overrides(one: Panel) -> list[Object]:
    """The band as a shaded area between its bounds, and the limit as a dashed red line."""
    legends = {legend for _, legend in one.queries}
    if "predicted, lower" not in legends:
        return []
    red: list[Object] = [
        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
    ]
    faint: list[Object] = [
        {"id": "custom.lineWidth", "value": 0},
        {"id": "custom.fillOpacity", "value": 15},
        {"id": "custom.fillBelowTo", "value": "predicted, lower"},
    ]
    return [
        {"matcher": {"id": "byName", "options": "predicted, upper"}, "properties": faint},
        {"matcher": {"id": "byName", "options": "predicted, lower"}, "properties": faint[:1]},
        *(
            {"matcher": {"id": "byName", "options": name}, "properties": red}
            for name in {LIMIT} & legends
        ),
    ]
