"""Who somebody is, and what they may read: asked of the API server, which alone knows."""

from __future__ import annotations

from guide.cluster.calls import call
from guide.cluster.client import ClusterClient
from guide.cluster.json_values import mapping, sequence

_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io/v1", "authorization.k8s.io/v1"


def user_of(client: ClusterClient, token: str) -> dict[str, object] | None:
    """Name and groups of whoever bears `token` (TokenReview); None for nobody."""
    from kubernetes.client import AuthenticationV1Api

    body = {"apiVersion": _AUTHENTICATION, "kind": "TokenReview", "spec": {"token": token}}
    ask = AuthenticationV1Api(client.api).create_token_review
    status = mapping(call("review a token", ask, body=body).get("status"))
    return mapping(status.get("user")) if status.get("authenticated") is True else None


def may_get(client: ClusterClient, user: dict[str, object], path: str) -> bool:
    """Whether a user may get a path that is no resource, such as /metrics (SubjectAccessReview)."""
    from kubernetes.client import AuthorizationV1Api

    spec = {
        "user": user.get("username"),
        "groups": sequence(user.get("groups")),
        "uid": user.get("uid"),
        "extra": mapping(user.get("extra")),
        "nonResourceAttributes": {"path": path, "verb": "get"},
    }
    body = {"apiVersion": _AUTHORIZATION, "kind": "SubjectAccessReview", "spec": spec}
    ask = AuthorizationV1Api(client.api).create_subject_access_review
    return mapping(call("review an access", ask, body=body).get("status")).get("allowed") is True
