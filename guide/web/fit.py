"""`/fit`, `GET /api/fit`: does a model fit on one GPU type, as `guide fit` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from guide.catalog import release
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.models.precision import PRECISIONS
from guide.question import known_gpu
from guide.report.fit import FitRow, layouts, outcome, tables, to_document
from guide.search.fit import FitAnswer, FitQuestion, answer_fit, fit_table
from guide.spec.resolve import known_model
from guide.web.asking import sentence
from guide.web.engine import catalog
from guide.web.pages import show

MOST = {  # of the numbers that may be asked for
    "tp": 64,
    "pp": 64,
    "dp": 1024,
    "ep": 4096,
    "max_model_len": 10_000_000,
    "max_num_seqs": 1_000_000,
    "max_num_batched_tokens": 10_000_000,
}
FIRST = {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "H100-SXM"}
AUTO = "auto"
FIRST_FRAMEWORK = next(iter(FRAMEWORKS))

router = APIRouter()


@router.get("/fit", include_in_schema=False)
def page(request: Request) -> Response:
    """The form, and below it the answer once something was asked."""
    asked = {key: value for key, value in request.query_params.items() if value.strip()}
    shown: dict[str, Any] = {
        "asked": asked or FIRST,
        "models": sorted(catalog().models, key=str.casefold),
        "gpus": sorted(catalog().gpus),
        "precisions": sorted(PRECISIONS),
        "frameworks": list(FRAMEWORKS),
    }
    if asked:
        try:
            found, table = answered(asked)
        except SpecError as error:
            return show(request, "fit.html", {**shown, "problem": sentence(str(error))}, 422)
        drawn = [*tables(found), *([layouts(table)] if table else [])]
        shown |= {"found": found, "outcome": outcome(found), "tables": drawn}
    return show(request, "fit.html", shown)


@router.get("/api/fit")
def fit(request: Request) -> JSONResponse:
    """Does it fit: the flags of `guide fit` as query parameters, with underscores."""
    found, table = answered(dict(request.query_params))
    return JSONResponse(to_document(found, table))


def answered(asked: Mapping[str, str]) -> tuple[FitAnswer, list[FitRow]]:
    """The answer to the texts of a form or of query parameters; `SpecError` for what is none."""
    known = catalog()
    behaviour = release(
        known, asked.get("framework", FIRST_FRAMEWORK), asked.get("framework_version")
    )
    share = asked.get("gpu_memory_utilization")
    question = FitQuestion(
        model=known_model(_text(asked, "model"), known, "model"),
        release=behaviour,
        version=asked.get("framework_version", behaviour.version),
        precision=asked.get("precision"),
        tp=_count(asked, "tp"),
        pp=_count(asked, "pp") or 1,
        dp=_count(asked, "dp") or 1,
        ep=_count(asked, "ep") or 1,
        gpu_memory_utilization=None if share is None else _share(share),
        max_model_len=_count(asked, "max_model_len"),
        fit_model_len=asked.get("max_model_len") == AUTO,
        kv_cache_dtype=asked.get("kv_cache_dtype", AUTO),
        max_num_seqs=_count(asked, "max_num_seqs"),
        max_num_batched_tokens=_count(asked, "max_num_batched_tokens"),
    )
    gpu = known_gpu(_text(asked, "gpu"), known, "gpu")
    table = [] if question.tp else fit_table(question, [gpu], known)
    return answer_fit(question, gpu, known), table


def _text(asked: Mapping[str, str], name: str) -> str:
    if not asked.get(name):
        raise SpecError(f"{name} is missing: name one", field=name)
    return asked[name]


def _count(asked: Mapping[str, str], name: str) -> int | None:
    text = asked.get(name, "").strip()
    if not text or (name == "max_model_len" and text == AUTO):
        return None
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text[:20]) <= MOST[name]:
        raise SpecError(
            f"{name} is {text[:40]!r}, but it must be a whole number up to {MOST[name]:,}",
            field=name,
        )
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise SpecError(
            f"gpu_memory_utilization is {text[:40]!r}, but it must lie above 0 and up to 1",
            field="gpu_memory_utilization",
        )
    return share
