"""What every page has: the templates, the form with its answer, and the page of an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from msgspec.structs import replace

import guide
from guide.domain import Recommendation
from guide.errors import TookTooLong
from guide.report.tables import Table
from guide.web import fields
from guide.web.asking import PageQuestion, Wrong, answer, question, sentence
from guide.web.comparison import comparison
from guide.web.creating import CreateOffer, offer
from guide.web.engine import catalog
from guide.web.intake import reasoning
from guide.web.presets import PRESETS
from guide.web.running import Running, answer_within
from guide.web.settings import Settings
from guide.web.so_far import so_far
from guide.web.state import PoolRow, State, from_query
from guide.web.view import answer_view, problems

HERE = Path(__file__).resolve().parent


EXAMPLE = State(
    values={**fields.DEFAULTS, **PRESETS["chat"][1]},
    model="meta-llama/Llama-3.1-8B-Instruct",
    pools=tuple(
        PoolRow(gpu=gpu, nodes=nodes, per=per)
        for gpu, nodes, per in (("H100-SXM", "1", "8"), ("A100-80GB", "2", "8"), ("L4", "4", "1"))
    ),
    ask=True,
)


def _everywhere(request: Request) -> dict[str, Any]:
    settings: Settings = request.app.state.settings
    return {"version": guide.__version__, "cluster": settings.cluster}


_templates = Jinja2Templates(HERE / "templates", context_processors=[_everywhere])
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


def show(request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
    """One page."""
    return _templates.TemplateResponse(request, name, shown, status_code=status)


def form_page(request: Request, state: State, errors: dict[str, str]) -> Response:
    """The form without an answer; 422 where something in it is wrong."""
    shown = {
        "answer": None,
        "errors": errors,
        "problems": problems(errors),
        "comparison": None,
        "example": EXAMPLE.query,
    }
    return show(request, "page.html", {**_form(request, state), **shown}, 422 if errors else 200)


def answer_page(
    request: Request, state: State, tried: CreateOffer | None = None, status: int = 200
) -> Response:
    """The form with its answer; `tried` is a plan that could not be created."""
    settings: Settings = request.app.state.settings
    try:
        asked = question(state, settings)
        patience_s = None if tried else settings.patience_s
        found = answer_within(asked.plan, asked.inventory, patience_s)
        if isinstance(found, Running):
            shown = {"so_far": so_far(state, asked, found.progress), "answer": None, "errors": {}}
            return show(request, "page.html", {**_form(request, state), **shown})
        shown = {
            "answer": answer_view(state, asked, found),
            "errors": {},
            "comparison": _beside(state, settings, (asked, found)),
            "offer": tried or offer(asked, settings, request.headers),
        }
    except Wrong as wrong:
        return form_page(request, state, wrong.errors)
    except TookTooLong as ended:
        return form_page(request, state, {"": sentence(str(ended))})
    return show(request, "page.html", {**_form(request, state), **shown}, status)


def error_page(request: Request, title: str, text: str, status: int) -> Response:
    """A page with one sentence."""
    return show(request, "error.html", {"title": title, "text": text}, status)


def _beside(
    state: State, settings: Settings, here: tuple[PageQuestion, Recommendation]
) -> Table | None:
    """This run beside those that it is compared with; None where one of them is no question."""
    try:
        others = [question(from_query(text).alone, settings) for text in state.compare]
    except Wrong:
        return None
    runs = [here, *((asked, answer(asked)) for asked in others)]
    return comparison(runs) if others else None


def _form(request: Request, state: State) -> dict[str, Any]:
    """What the form needs to show `state`."""
    settings: Settings = request.app.state.settings
    rows = [*state.pools] or [PoolRow(gpu="H100-SXM", nodes="1", per="8")]
    return {
        "state": state,
        "rows": rows,
        "groups": fields.GROUPS,
        "presets": PRESETS,
        "models": sorted(catalog().models, key=str.casefold),
        "gpus": sorted(g.name for g in catalog().gpus.values() if g.parent is None),
        "live": settings.live,
        "reasoning": reasoning(state),
        "kept": replace(
            state, compare=(state.alone.query, *state.compare), asof="", ask=False
        ).query,
    }
