"""A cluster that holds InferencePlans, in place of an API server, for the plans page."""

from __future__ import annotations

from typing import Any

import yaml

from guide.errors import ClusterError
from tests.web_questions import ROOT


class Cluster:
    """In place of the API server."""

    def __init__(self) -> None:
        self.held: list[dict[str, Any]] = []
        self.refusal: ClusterError | None = None
        self.created: list[tuple[str, Any]] = []

    def plans(self) -> list[dict[str, Any]]:
        if self.refusal is not None:
            raise self.refusal
        return self.held

    def with_token(self, token: str) -> Cluster:
        self.token = token
        return self

    def create_plan(self, value: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.created.append((self.token, value))


def plan(name: str = "chat", *conditions: tuple[str, str], **status: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "examples/chat.yaml").read_text())
    found["metadata"] = {"name": name, "namespace": "ml", "generation": 2}
    told = [{"type": t, "status": s, "message": f"{t} is {s}"} for t, s in conditions]
    found["status"] = {"observedGeneration": 2, "conditions": told, **status}
    return found
