"""A plan created from the page, with the token of the person who asks for it.

The token is in the body of one request and in one call to the API server, and nowhere else: not in
an address, a log, an answer or a variable that outlives the call. The page's own account has no
right to write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import field
from pydantic import ValidationError

from guide.cluster.client import connect
from guide.cluster.refusals import Forbidden, NotFound, Refused, Stale, Unauthenticated
from guide.errors import ClusterError
from guide.gitops.folder import plan_document
from guide.record import Record
from guide.spec import InferencePlan
from guide.spec.messages import spec_errors
from guide.web.asking import PageQuestion, sentence
from guide.web.settings import Settings

TOKEN_LIMIT = 16_384  # characters
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750
# Browsers send it only over HTTPS or to this machine itself, and no page can forge it.
ORIGIN = "sec-fetch-site"
OPEN_WIRE = (
    "This page was opened over plain HTTP, where others could read your token. Open it over HTTPS, "
    "or through `kubectl port-forward`, to create the plan from here."
)
FOREIGN = "The form was sent from another site, so nothing was created."
PASTED = (
    "The model's config.json was pasted here. Put it into a ConfigMap, name that in "
    "spec.model.configFrom of plan.yaml, and apply the plan with kubectl."
)


class CreateOffer(Record, frozen=True, kw_only=True):
    """The form that creates a plan: what is filled in, or `hindrance`, why there is none."""

    namespace: str
    name: str
    errors: Mapping[str, str] = field(default_factory=dict[str, str])  # "" belongs to no field
    hindrance: str = ""


class NotCreated(Exception):
    """Why there is no new plan: sentences by field, and the HTTP status that says the same."""

    def __init__(self, errors: dict[str, str], status: int) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors, self.status = errors, status


def offer(
    asked: PageQuestion, settings: Settings, headers: Mapping[str, str]
) -> CreateOffer | None:
    """The form below an answer; None without a cluster."""
    if not settings.cluster:
        return None
    meta = asked.written.metadata
    hindrance = OPEN_WIRE if ORIGIN not in headers else PASTED if asked.config is not None else ""
    return CreateOffer(namespace=meta.namespace, name=meta.name, hindrance=hindrance)


def create(asked: PageQuestion, namespace: str, name: str, token: str) -> None:
    """Create the plan of a question as the owner of `token`; raises `NotCreated`."""
    document = _document(asked, namespace, name)
    if not token:
        raise NotCreated({"token": "Paste a token: the plan is created in your name."}, 422)
    if len(token) > TOKEN_LIMIT or not _TOKEN.fullmatch(token):
        raise NotCreated({"token": "This is no bearer token: paste it alone, as one word."}, 422)
    try:
        connect().with_token(token).create_plan(document)
    except ClusterError as error:
        raise _not_created(error, namespace, name) from None


def _document(asked: PageQuestion, namespace: str, name: str) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name}
    document = {**plan_document(asked.written), "metadata": meta}
    try:
        InferencePlan.model_validate(document)
    except ValidationError as error:
        told: dict[str, str] = {}
        for one in spec_errors(error, InferencePlan):
            path = one.field or ""
            told[path.removeprefix("metadata.")] = sentence(str(one).removeprefix(path).strip())
        raise NotCreated(told, 422) from None
    return document


def _not_created(error: ClusterError, namespace: str, name: str) -> NotCreated:
    """The refusal of the API server, beside the field that mends it."""
    match error:
        case Unauthenticated():
            text = "The cluster does not accept this token: it is wrong or has expired."
            return NotCreated({"token": text}, 401)
        case Stale():
            text = f"There is a plan {name} in {namespace} already: choose another name."
            return NotCreated({"name": text}, 409)
        case NotFound():
            text = f"There is no namespace {namespace}, or the cluster knows no InferencePlan."
            return NotCreated({"namespace": text}, 404)
        case Forbidden():
            return NotCreated({"token": sentence(str(error))}, 403)
        case Refused():
            return NotCreated({"": sentence(str(error))}, 422)
        case _:
            return NotCreated({"": sentence(str(error))}, 503)
