"""What the chart adds for Prometheus and Grafana, and that it adds nothing unasked."""

from __future__ import annotations

import json
from pathlib import Path

from guide.manifests.names import PLAN_LABEL
from hack.dashboards import FOLDER
from hack.rules import rules
from tests.e2e.chart import rendered

KINDS = {"PodMonitor", "PrometheusRule", "ServiceMonitor"}


def test_nothing_unasked(programs: Path):
    objects = rendered(programs, "x")
    assert not KINDS & {value["kind"] for value in objects}
    (deployment,) = (value for value in objects if value["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert not [e for e in container["env"] if e["name"] == "GUIDE_PROMETHEUS_URL"]


def test_monitoring_when_asked(programs: Path):
    objects = rendered(
        programs,
        "x",
        dashboards__enabled="true",
        podMonitor__enabled="true",
        prometheusRule__enabled="true",
        serviceMonitor__enabled="true",
        prometheus__url="http://prometheus:9090",
    )
    maps = [value for value in objects if value["kind"] == "ConfigMap"]
    assert all(m["metadata"]["labels"]["grafana_dashboard"] == "1" for m in maps)
    boards = {name: json.loads(text) for m in maps for name, text in m["data"].items()}
    assert boards == {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    by_kind = {value["kind"]: value for value in objects}
    assert by_kind["PrometheusRule"]["spec"] == rules()
    (endpoint,) = by_kind["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert {r["targetLabel"] for r in endpoint["relabelings"]} == {"plan", "namespace"}
    chosen = by_kind["PodMonitor"]["spec"]["selector"]["matchExpressions"]
    assert chosen == [{"key": PLAN_LABEL, "operator": "Exists"}]  # of whatever framework
    (scraped,) = by_kind["ServiceMonitor"]["spec"]["endpoints"]
    assert scraped["honorLabels"] is True
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["GUIDE_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert env["GUIDE_NAMESPACE"] == "x"
    ports = by_kind["NetworkPolicy"]["spec"]["egress"][0]["ports"]
    assert 9090 in {port["port"] for port in ports}
