"""A Prometheus on the node that scrapes as docs/monitoring.md says."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hack.node.init import ADDRESS
from hack.node.node import Node
from hack.node.programs import build_prometheus
from tests.e2e_node.beside import beside

ROOT = Path(__file__).resolve().parents[2]
URL = f"http://{ADDRESS}:9090"


def scrape_configs() -> list[dict[str, Any]]:
    """The jobs of the page, letter by letter."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(- job_name: guide\n.*?)```", page, re.DOTALL)
    return yaml.safe_load(block)


@contextmanager
def prometheus(node: Node) -> Iterator[None]:
    """One that runs at URL while the block does."""
    jobs = scrape_configs()
    for job in jobs:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(node.kubeconfig)  # it is no pod itself
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(ROOT / "charts/guide/files/rules.yaml")],
        "scrape_configs": jobs,
    }
    file = node.run_dir / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = (
        f"--config.file={file}",
        f"--storage.tsdb.path={node.run_dir / 'prometheus'}",
        f"--web.listen-address={ADDRESS}:9090",
    )
    with beside(node, build_prometheus(), *words, answers=lambda: _answers(node)):
        yield


def query(node: Node, expression: str) -> list[dict[str, Any]]:
    """The series of an instant query."""
    asked = urllib.parse.urlencode({"query": expression})
    return json.loads(_get(node, f"{URL}/api/v1/query?{asked}").stdout)["data"]["result"]


def targets(node: Node) -> list[dict[str, Any]]:
    """What is scraped, and how it is."""
    return json.loads(_get(node, f"{URL}/api/v1/targets?state=active").stdout)["data"][
        "activeTargets"
    ]


def _answers(node: Node) -> bool:
    return _get(node, f"{URL}/-/ready").returncode == 0


def _get(node: Node, url: str) -> subprocess.CompletedProcess[str]:
    command = node.command("curl", "-sSf", "--max-time", "10", url, network_alone=True)
    return subprocess.run(command, capture_output=True, text=True, check=False)
