"""The page beside a cluster of plans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from guide.web import plans
from guide.web.settings import Settings
from tests.cluster_of_plans import Cluster
from tests.web_questions import NODES, client_of


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    for module in ("plans", "creating"):
        monkeypatch.setattr(f"guide.web.{module}.connect", lambda: found)
    plans.read_anew()
    return found


@pytest.fixture(scope="module")
def _server() -> Iterator[TestClient]:  # pyright: ignore[reportUnusedFunction]
    settings = Settings(cluster=True, nodes_file=NODES, answers_per_minute=100_000)
    with client_of(settings) as client:
        yield client


@pytest.fixture
def page(cluster: Cluster, _server: TestClient) -> TestClient:
    """A server that started once, beside a cluster of this test's own."""
    del cluster
    return _server
