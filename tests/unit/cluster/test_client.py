"""Failures of the cluster become one sentence, before any connection is made and after."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiException

from guide.cluster.client import FieldConflict, NotFound, Stale, connect, translate
from guide.errors import ClusterError

LOCATION = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


def failure(status: int, body: object) -> ApiException:
    error = ApiException(status=status, reason="Reason")
    error.body = body if isinstance(body, str) else json.dumps(body)
    return error


def test_a_conflict_names_managers_and_fields():
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "argocd" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    found = translate("apply x", failure(409, {"message": "m", "details": {"causes": causes}}))
    assert isinstance(found, FieldConflict)
    assert found.owners == (("argocd", ".spec.replicas"),)
    assert str(found) == "cannot apply x: .spec.replicas belongs to argocd"


def test_another_conflict_says_that_the_object_has_changed():
    found = translate("apply x", failure(409, {"message": "the object has been modified"}))
    assert type(found) is Stale


@pytest.mark.parametrize("body", ["", "no json", "[]", {"message": None}])
def test_an_answer_without_a_message_still_gives_a_sentence(body: object):
    found = translate("list nodes", failure(403, body))
    assert str(found) == "cannot list nodes: the API server says 403, Reason"


def test_what_is_missing_is_told_apart():
    assert isinstance(translate("read x", failure(404, {})), NotFound)


@pytest.mark.parametrize("text", ["", "{", "[]", "current-context: x\n", "clusters: 7\n"])
def test_a_broken_kubeconfig_gets_one_sentence(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(LOCATION, str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="give --nodes FILE") as error:
        connect()
    assert "\n" not in str(error.value)


def reached_at(server: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current context leads to this address."""
    path = folder / "config"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {}}],
            }
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr(LOCATION, str(path))


def test_a_server_that_does_not_answer_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reached_at("http://127.0.0.1:1", tmp_path, monkeypatch)
    with pytest.raises(ClusterError, match="cannot list nodes: the API server did not answer"):
        connect().nodes()


class Moody(HTTPServer):
    """An API server that fails before it answers."""

    failures: list[int]
    asked = 0


@pytest.fixture
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moody]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Any request."""
            assert isinstance(self.server, Moody)
            self.server.asked += 1
            failure = self.server.failures.pop(0) if self.server.failures else 0
            body = b'{"items": [], "message": "busy"}'
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(failure or 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET
        do_PATCH = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with Moody(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        reached_at(f"http://127.0.0.1:{server.server_port}", tmp_path, monkeypatch)
        yield server
        server.shutdown()


CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "a", "namespace": "b"},
    "data": {},
}
PLAN = {"apiVersion": "guide.dev/v1alpha1", "kind": "InferencePlan"} | {
    "metadata": CONFIG_MAP["metadata"]
}


def test_what_passes_by_itself_is_asked_again(moody: Moody):
    moody.failures = [500, 429, 503]
    assert connect().nodes() == []
    assert moody.asked == 4
    moody.failures = [500, 429]
    connect().apply(CONFIG_MAP)
    assert moody.asked == 7


def test_who_asks_by_a_token_of_their_own_is_served_alike(moody: Moody):
    moody.failures = [500, 429]
    assert connect().with_token("theirs").nodes() == []
    assert moody.asked == 3


def test_what_lasts_is_told(moody: Moody):
    moody.failures = [500] * 9
    with pytest.raises(ClusterError, match="the API server says 500, busy"):
        connect().nodes()
    assert moody.asked == 5


@pytest.mark.parametrize("status", [403, 404, 409, 422])
def test_a_refusal_is_no_mood(moody: Moody, status: int):
    moody.failures = [status]
    with pytest.raises(ClusterError):
        connect().apply(CONFIG_MAP)
    assert moody.asked == 1


def test_what_makes_an_object_is_asked_once(moody: Moody):
    """Its answer may be lost when the object is there."""
    moody.failures = [500]
    with pytest.raises(ClusterError):
        connect().create_plan(PLAN)
    assert moody.asked == 1
