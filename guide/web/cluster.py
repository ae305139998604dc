"""What the page shows and does where it stands in a cluster: its plans, and a new one."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from guide.web import creating, plans
from guide.web.asking import Wrong, question
from guide.web.creating import CreateOffer, NotCreated
from guide.web.pages import answer_page, form_page, show
from guide.web.settings import Settings
from guide.web.state import from_query

NO_CLUSTER = "This server reads no cluster, so there are no plans to show."


def _in_a_cluster(request: Request) -> None:
    settings: Settings = request.app.state.settings
    if not settings.cluster:
        raise HTTPException(404, NO_CLUSTER)


def _same_origin(request: Request) -> None:
    if request.headers.get(creating.ORIGIN) != "same-origin":
        raise HTTPException(403, creating.FOREIGN)


router = APIRouter(dependencies=[Depends(_in_a_cluster)], include_in_schema=False)


@router.get("/plans")
def plan_list(request: Request) -> Response:
    """All InferencePlans."""
    return show(request, "plans.html", {"rows": plans.rows(plans.listed())})


@router.get("/plans/{namespace}/{name}")
def plan_page(namespace: str, name: str, request: Request) -> Response:
    """One InferencePlan."""
    found = plans.find(plans.listed(), namespace, name)
    if found is None:
        raise HTTPException(404, f"There is no InferencePlan {name} in the namespace {namespace}.")
    settings: Settings = request.app.state.settings
    board = dashboard(settings.grafana, namespace, name)
    return show(request, "plan.html", {"plan": plans.detail(found), "dashboard": board})


def dashboard(grafana: str, namespace: str, name: str) -> str:
    """The dashboard of a plan, for Grafana at that address; empty without one."""
    chosen = urlencode({"var-namespace": namespace, "var-plan": name})
    return f"{grafana.rstrip('/')}/d/guide-plan?{chosen}" if grafana else ""


@router.get("/create")
def back_to_the_answer(request: Request) -> Response:
    """A refused attempt, loaded again without its form."""
    return RedirectResponse(f"/?{request.url.query}", status_code=303)


@router.post("/create", dependencies=[Depends(_same_origin)])
def create(
    request: Request,
    namespace: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    token: Annotated[str, Form()] = "",
) -> Response:
    """Create the plan that the query describes; the token comes in the body alone."""
    state = from_query(request.url.query)
    namespace, name = namespace.strip(), name.strip()
    try:
        creating.create(question(state, request.app.state.settings), namespace, name, token.strip())
    except Wrong as wrong:
        return form_page(request, state, wrong.errors)
    except NotCreated as refusal:
        tried = CreateOffer(namespace=namespace, name=name, errors=refusal.errors)
        return answer_page(request, state, tried, refusal.status)
    plans.read_anew()
    return RedirectResponse(f"/plans/{namespace}/{name}", status_code=303)
