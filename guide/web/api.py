"""`POST /api/recommend`: the question as JSON, the answer as `guide plan -o json` prints it."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from guide.cluster.imagined import MOST_NODES, MOST_PER_NODE
from guide.errors import GuideError, SpecError
from guide.question import Cluster
from guide.report.document import to_json
from guide.spec import InferencePlan
from guide.spec.answer import RecommendationDocument
from guide.spec.edge import Edge
from guide.spec.messages import told
from guide.spec.scalars import GpuName
from guide.web.asking import PageQuestion, answer, page_question
from guide.web.engine import catalog
from guide.web.nodes import imagined, live
from guide.web.settings import Settings
from guide.web.state import MOST_POOLS, PoolRow

router = APIRouter(prefix="/api")


class WhatIfPool(Edge):
    """Nodes that do not exist yet."""

    gpu: GpuName = Field(description="Catalogue name of the GPU, see `guide gpus`.")
    nodes: Annotated[int, Field(ge=1, le=MOST_NODES)] = Field(description="Number of nodes.")
    gpus_per_node: Annotated[int, Field(ge=1, le=MOST_PER_NODE)] = Field(
        alias="gpusPerNode", description="GPUs of each node."
    )
    usd_per_node_hour: Annotated[float, Field(gt=0, le=999_999)] | None = Field(
        default=None,
        alias="usdPerNodeHour",
        description="Price of a whole node; absent: the catalogue's price of a GPU.",
    )

    def row(self) -> PoolRow:
        """The same as a row of the form."""
        price = "" if self.usd_per_node_hour is None else f"{self.usd_per_node_hour:.4f}"
        return PoolRow(
            gpu=self.gpu, nodes=str(self.nodes), per=str(self.gpus_per_node), price=price
        )


class Ask(Edge):
    """A plan, and the GPUs to plan for: pools, nodes, or neither for this server's cluster."""

    model_config = ConfigDict(defer_build=False)  # FastAPI describes it before it is first used

    plan: InferencePlan = Field(description="The InferencePlan.")
    pools: tuple[WhatIfPool, ...] = Field(
        default=(), max_length=MOST_POOLS, description="What-if pools."
    )
    nodes: tuple[dict[str, Any], ...] | None = Field(
        default=None, description="Items of `kubectl get nodes -o json`."
    )
    pods: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="Items of `kubectl get pods -A -o json`; the GPUs they hold are taken.",
    )
    model_config_json: dict[str, Any] | None = Field(
        default=None,
        alias="modelConfig",
        description="The model's config.json, for a model that is not in the catalogue.",
    )


class ErrorDocument(TypedDict):
    """One sentence, and the path of the field where there is one."""

    message: str
    field: str | None


class Problem(TypedDict):
    """Why there is no answer."""

    error: ErrorDocument


@router.post(
    "/recommend",
    response_model=RecommendationDocument,
    responses={
        422: {"model": Problem},
        429: {"model": Problem},
        503: {"model": Problem},
    },
    summary="Recommend a deployment",
)
def recommend(body: Ask, request: Request) -> JSONResponse:
    """Infeasible is an answer too: `feasible` is false, and relaxations say what would help."""
    asked = _question(body, request.app.state.settings)
    return JSONResponse(to_json(answer(asked)))


def _question(body: Ask, settings: Settings) -> PageQuestion:
    config = None if body.model_config_json is None else json.dumps(body.model_config_json)
    if body.nodes is not None and body.pools:
        raise SpecError("nodes and pools are both given: keep one of them", field="pools")
    if body.nodes is not None:
        found = Cluster(nodes=body.nodes, pods=body.pods)
    elif body.pools:
        found = Cluster(nodes=imagined((pool.row() for pool in body.pools), catalog()))
    elif settings.live:
        found = live(settings)
    else:
        raise SpecError("give pools or nodes: this server reads no cluster", field="pools")
    return page_question(body.plan, found, config)


def refused(error: GuideError, status: int) -> JSONResponse:
    """One sentence, and the field where there is one."""
    field = error.field if isinstance(error, SpecError) else None
    return problem(str(error), status, field)


def problem(sentence: str, status: int, field: str | None = None) -> JSONResponse:
    """An error as JSON."""
    body: Problem = {"error": {"message": sentence, "field": field}}
    return JSONResponse(body, status_code=status)


def misfit(error: RequestValidationError) -> JSONResponse:
    """A body that does not fit the types: the first error in one sentence."""
    details = error.errors()
    first = min(details, key=lambda d: d["type"] != "extra_forbidden")
    place = tuple(part for part in first["loc"] if part != "body")
    if place and isinstance(place[0], int):  # where the text stops to be JSON
        return problem(f"the body is not valid JSON: {first['msg']}", 422)
    here = cast("ErrorDetails", {**first, "loc": place})
    wrong = told(here, Ask, "the body")
    return problem(str(wrong), 422, wrong.field)
