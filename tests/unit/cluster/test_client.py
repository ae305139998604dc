"""Failures of the cluster become one sentence, before any connection is made and after."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_a_server_that_does_not_answer_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "config"
    path.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {}}],
            }
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr(LOCATION, str(path))
    with pytest.raises(ClusterError, match="cannot list nodes: the API server did not answer"):
        connect().nodes()
