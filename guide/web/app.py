"""The server: the form and its answer, downloads, the JSON API. `guide serve` starts it.

Nothing is kept: the question stands in the URL, so every page is a link that can be shared.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from msgspec.structs import replace
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

import guide
from guide.errors import ClusterError, GuideError, SpecError
from guide.web import api, cluster, engine, fields, fit
from guide.web.asking import Wrong, answer, question, sentence
from guide.web.downloads import FILES
from guide.web.guard import HEADERS, Guard, Rate
from guide.web.intake import taken_in
from guide.web.nodes import uploaded
from guide.web.pages import HERE, answer_page, error_page, form_page
from guide.web.presets import PRESETS
from guide.web.running import at_work, forget
from guide.web.settings import Settings
from guide.web.state import PoolRow, State, from_pairs, from_query, pack

FORM_FIELDS = 120
MODEL_CONFIG_LIMIT = 1_000_000  # characters
FIRST = State(values={**fields.DEFAULTS, **PRESETS["chat"][1]})
SORRY = "Something went wrong on our side; the question was fine as far as we can tell."
PATIENCE = "Too many questions from this address: wait a minute and ask again."
log = logging.getLogger("guide.web")


def create(settings: Settings | None = None) -> FastAPI:
    """The application; settings come from the environment where none are given."""
    settings = settings or Settings.from_environment()
    app = FastAPI(
        title="GUIDE",
        version=guide.__version__,
        description="Advice on how to deploy LLM inference on Kubernetes.",
        docs_url=None,  # its page loads scripts from a CDN
        redoc_url=None,
        lifespan=_with_engine,
        dependencies=[Depends(_limited)],
    )
    app.state.settings = settings
    app.state.rate = Rate(settings.answers_per_minute)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.include_router(api.router)
    app.include_router(cluster.router)
    app.include_router(fit.router)
    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/", submit, methods=["POST"], include_in_schema=False)
    app.add_api_route("/progress", progress, methods=["GET"], include_in_schema=False)
    app.add_api_route("/download/{name}", download, methods=["GET"], include_in_schema=False)
    app.add_api_route("/healthz", health, methods=["GET"], include_in_schema=False)
    app.add_middleware(GZipMiddleware, minimum_size=1000)  # no page holds a secret to guess at
    app.add_middleware(Guard)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misfit)
    app.add_exception_handler(GuideError, _told)
    app.add_exception_handler(Exception, _apology)
    return app


@asynccontextmanager
async def _with_engine(app: FastAPI) -> AsyncGenerator[None]:
    del app
    await run_in_threadpool(engine.start)  # they load the catalogue while this process does
    await run_in_threadpool(engine.catalog)  # so that the first visitor does not wait for it
    yield
    await run_in_threadpool(engine.stop)
    forget()  # what was at work has ended with an error, which is nobody's answer


async def health() -> PlainTextResponse:
    """Alive, however many questions wait."""
    return PlainTextResponse("ok\n")


def page(request: Request) -> Response:
    """The form, and below it the answer when the URL asks for one."""
    settings: Settings = request.app.state.settings
    first = FIRST if settings.live else replace(FIRST, source="rent")  # who has none, rents
    state = from_query(request.url.query) if request.url.query else first
    return answer_page(request, state) if state.ask else form_page(request, state, {})


def progress(request: Request) -> Response:
    """How far a question is that was asked; it begins none, and what has ended is at its page."""
    state = from_query(request.url.query)
    try:
        asked = question(state, request.app.state.settings)
    except Wrong:
        at_it = False
    else:
        at_it = at_work(asked.plan, asked.inventory)
    if at_it:
        return answer_page(request, state)
    return RedirectResponse("/?" + state.query, status_code=303)


async def submit(request: Request) -> Response:
    """Take the form, turn files into parts of the URL, and send the browser there."""
    async with request.form(max_files=2, max_fields=FORM_FIELDS) as form:
        pairs = [(k, v) for k, v in form.multi_items() if isinstance(v, str)]
        file = form.get("nodes_file")
        named = isinstance(file, UploadFile) and file.filename
        upload = await file.read() if isinstance(file, UploadFile) and named else None
    state = from_pairs(pairs)
    pressed = dict(pairs)
    try:
        if upload is not None:
            text = upload.decode("utf-8", errors="replace")
            token = await run_in_threadpool(lambda: pack(uploaded(text)))
            state = replace(state, nodes=token, source="nodes")
        pasted = pressed.get("config_text", "").strip()
        if pasted:
            if len(pasted) > MODEL_CONFIG_LIMIT:
                raise SpecError("config.json is larger than 1 MB: is it the right file?", "config")
            state = replace(state, config=pack(pasted))
        if pressed.get("preset") not in PRESETS:
            state = taken_in(state, pressed)
    except SpecError as error:
        place = error.field if error.field in ("config", "people", "every") else "nodes"
        return form_page(request, state, {place: sentence(str(error))})
    return RedirectResponse("/?" + _pressed(state, pressed).query, status_code=303)


def _pressed(state: State, pressed: dict[str, str]) -> State:
    """The state after the button that was pressed."""
    if pressed.get("preset") in PRESETS:
        return state.preset(pressed["preset"])
    if "add" in pressed:
        last = state.pools[-1] if state.pools else PoolRow()
        gpu = next((n for n in ("A100-80GB", "L40S", "L4") if n != last.gpu), "L4")
        return replace(state, pools=(*state.pools, replace(last, gpu=gpu, price="")), ask=False)
    if pressed.get("drop", "").isdigit():
        gone = int(pressed["drop"])
        kept = tuple(p for n, p in enumerate(state.pools) if n != gone)
        return replace(state, pools=kept, ask=False)
    if "drop_config" in pressed:
        return replace(state, config="", ask=False)
    if "work" in pressed:
        return replace(state, ask=False)
    return replace(state, ask=True)


def download(name: str, request: Request) -> Response:
    """A file of the answer that the query describes."""
    if name not in FILES:
        return PlainTextResponse("There is no such file.\n", status_code=404)
    kind, make = FILES[name]
    try:
        asked = question(from_query(request.url.query), request.app.state.settings)
    except Wrong as wrong:
        return PlainTextResponse(f"{wrong}\n", status_code=422)
    return Response(
        make(asked, answer(asked)),
        media_type=kind,
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _limited(request: Request) -> None:
    """Count what makes the engine work."""
    path = request.url.path
    asks = path == "/" and ("ask", "1") in parse_qsl(request.url.query)
    works = asks or path.startswith(("/api/", "/download/", "/create"))
    client = request.client.host if request.client else "unknown"
    if works and not request.app.state.rate.admits(client):
        raise HTTPException(429, PATIENCE, headers={"retry-after": "60"})


def _misfit(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    return api.misfit(error)


def _refused(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: no such page, a form that is too large."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/api/"):
        response: Response = api.problem(error.detail, error.status_code)
    else:
        title = "This cannot be done"
        response = error_page(request, title, error.detail, error.status_code)
    response.headers.update(error.headers or {})
    return response


def _told(request: Request, error: Exception) -> Response:
    """An error with a sentence of its own: the question (422), or the cluster (503)."""
    assert isinstance(error, GuideError)
    status = 503 if isinstance(error, ClusterError) else 422
    if request.url.path.startswith("/api/"):
        return api.refused(error, status)
    return error_page(request, "This cannot be done", sentence(str(error)), status)


def _apology(request: Request, error: Exception) -> Response:
    """Anything else is our fault: an apology and an id that finds the log entry."""
    number = secrets.token_hex(4)
    log.error("error %s at %s", number, request.url.path, exc_info=error)
    if request.url.path.startswith("/api/"):
        response: Response = api.problem(f"{SORRY} Report id {number}.", 500)
    else:
        text = f"{SORRY} If you report it, name the id {number}."
        response = error_page(request, "Sorry", text, 500)
    response.headers.update(HEADERS)  # it leaves by a way around the guard
    return response
