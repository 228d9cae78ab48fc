"""The service over HTTP: routes, statuses, OpenAPI. The only importer of FastAPI and Starlette."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from optikit import __version__
from optikit.errors import OptikitError
from optikit.service import page, reading
from optikit.service.bounded import Bounded
from optikit.service.browser import Browser
from optikit.service.database import Entry
from optikit.service.desk import Desk
from optikit.service.metrics import LOOPBACK_NAMES, Metrics
from optikit.service.pages import Pages
from optikit.service.refusals import NotAllowed, NotFound, body_of, headers_of, status_of
from optikit.service.shown import paths_said, shown
from optikit.spec.queue import Team
from optikit.stores.file import FileModelStore

__all__ = ["application"]

_LOG = logging.getLogger(__name__)
_FARTHEST = 2**53
"""Of an offset: what JSON's numbers can say."""


class Json(JSONResponse):
    """ASCII, so that no text can fail to be encoded."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode()


class Error(BaseModel):
    """What went wrong."""

    kind: str
    message: str


class ErrorBody(BaseModel):
    """Every answer that is an error."""

    error: Error


class Ask(BaseModel):
    """A job spec to be planned."""

    model_config = ConfigDict(extra="forbid")
    spec: dict[str, Any] = Field(
        description="A job spec, as in YAML; relative paths lead into the team's home.",
        examples=[{"model": {"name": "qwen-2.5-7b"}, "compute": {"sku": "H100_2"}}],
    )


class Submission(Ask):
    """A job spec to be run."""

    priority: int = Field(
        default=0, ge=-10, le=10, description="Within the team; one more is an hour of waiting."
    )


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    said = (400, 401, 408, 413, 422, 429, 503, *statuses)
    return {n: {"model": ErrorBody, "description": HTTPStatus(n).phrase} for n in said}


_bearer = HTTPBearer(auto_error=False, description="As `optikit teams add` printed it.")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


TheDesk = Annotated[Desk, Depends(_desk)]


def _team(
    request: Request,
    desk: TheDesk,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Team:
    unknown = request.headers.get("authorization") or _host(request) not in LOOPBACK_NAMES
    if given is None and unknown:
        # a page of the web that was told that its name is 127.0.0.1 has no business here
        raise NotAllowed("the service asks for a token: Authorization: Bearer TOKEN")
    request.state.team = desk.team(given.credentials if given else None)
    team: Team = request.state.team
    return team


TheTeam = Annotated[Team, Depends(_team)]


def _entry(request: Request, job_id: str, desk: TheDesk, team: TheTeam) -> Entry:
    entry = desk.entry(team, job_id)
    request.state.entry = entry
    return entry


TheJob = Annotated[Entry, Depends(_entry)]
Offset = Annotated[int, Query(ge=0, le=_FARTHEST, description="In bytes.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,255}$",
        description="The same key with the same spec is the same job.",
    ),
]

_open = APIRouter()
_v1 = APIRouter(prefix="/v1", responses=_errors())
_job = APIRouter(prefix="/v1/jobs/{job_id}", responses=_errors(404))


@_open.get("/healthz", responses={503: {"model": ErrorBody}})
def healthz(request: Request) -> dict[str, str]:
    """Whether the service can do its work; needs no token."""
    request.app.state.check()
    return {"status": "ok", "version": __version__}


@_open.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """For Prometheus; whom it answers is decided there."""
    found: Metrics | None = request.app.state.metrics
    asker = request.client.host if request.client else ""
    if found is None or not found.may_see(asker, _host(request)):
        raise NotFound(
            "no metrics for you: the service shows them to its own machine, and to others where "
            "its site.yaml says `metrics: true`"
        )
    body, media_type = found.text(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})


def _host(request: Request) -> str:
    """The name by which the service was asked for."""
    return re.sub(r":\d+$", "", request.headers.get("host", ""))


@_v1.get("/team")
def who_am_i(team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """The team behind the token."""
    limits = desk.limits
    return {
        **team.model_dump(mode="json"),
        "limits": {"per_minute": limits.per_minute, "live_jobs": limits.live_jobs},
    }


@_v1.post("/jobs", status_code=201, responses={200: {}, **_errors(404, 409)})
def submit(
    asked: Submission,
    request: Request,
    team: TheTeam,
    desk: TheDesk,
    key: Key = None,
) -> dict[str, Any]:
    """Submit a job. 200 instead of 201: it was submitted before under this key."""
    request.state.spec = asked.spec
    entry, new = desk.submit(team, asked.spec, asked.priority, key)
    return _answer(request, desk, reading.status(entry), 201 if new else 200)


@_v1.get("/jobs", responses=_errors(404))
def jobs(
    request: Request,
    team: TheTeam,
    desk: TheDesk,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: Annotated[str | None, Query(description="A job's id: only older ones.")] = None,
) -> dict[str, Any]:
    """The team's jobs, newest first. ``next``: what to give as ``before`` for the next page."""
    found = desk.page(team, limit, before)
    rows = [reading.row(entry) for entry in found]
    after = found[-1].id if len(found) == limit else None
    return _answer(request, desk, {"jobs": rows, "next": after})


@_v1.post("/plan")
def plan(asked: Ask, request: Request, team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """Resolve a job spec; starts nothing."""
    request.state.spec = asked.spec
    return _answer(request, desk, desk.plan(team, asked.spec).model_dump(mode="json"))


@_v1.get("/models")
def models(request: Request, team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """Models that are registered in the team's home."""
    found = [model.model_dump(mode="json") for model in FileModelStore(desk.home(team)).list()]
    return _answer(request, desk, {"models": found})


@_v1.get("/queue")
def queue(team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """What the team's live jobs wait for, and how much the team has had."""
    return desk.queue(team)


@_job.get("")
def status(request: Request, entry: TheJob, desk: TheDesk) -> dict[str, Any]:
    """Where a job stands."""
    return _answer(request, desk, reading.status(entry))


@_job.get("/plan")
def planned(request: Request, entry: TheJob, desk: TheDesk) -> dict[str, Any]:
    """What was resolved when the job was submitted."""
    found = reading.archive_of(entry).plan()
    return _answer(request, desk, found.model_dump(mode="json"))


@_job.get("/result", responses=_errors(409))
def result(request: Request, entry: TheJob, desk: TheDesk) -> dict[str, Any]:
    """How a job ended; 409 while it has not."""
    return _answer(request, desk, reading.result(entry))


@_job.get("/logs")
def logs(
    request: Request,
    entry: TheJob,
    desk: TheDesk,
    trial: Annotated[str | None, Query(max_length=200, description="Its engine's log.")] = None,
    offset: Offset = 0,
    length: Annotated[int, Query(ge=1, le=1 << 20, description="Most bytes.")] = 65536,
) -> dict[str, Any]:
    """A part of a log. ``next``: the offset to go on from; where it is ``size``, that was all."""
    return _answer(request, desk, reading.log(entry, trial, offset, length))


@_job.get("/events")
def events(request: Request, entry: TheJob, desk: TheDesk, offset: Offset = 0) -> dict[str, Any]:
    """A part of the journal. ``next``: the offset to go on from."""
    return _answer(request, desk, reading.events(entry, offset))


@_job.post("/cancel", responses={202: {}})
def cancel(request: Request, entry: TheJob, team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """Stop a job. 202: its driver was told, and takes a while to end."""
    found, over = desk.cancel(team, entry.id)
    return _answer(request, desk, found, 200 if over else 202)


@_job.post("/resume", responses=_errors(409))
def resume(request: Request, entry: TheJob, team: TheTeam, desk: TheDesk) -> dict[str, Any]:
    """Go on with a job that failed or was cancelled, from its last record."""
    return _answer(request, desk, reading.status(desk.resume(team, entry.id)))


def _answer(request: Request, desk: Desk, data: Any, status: int = 200) -> dict[str, Any]:
    """An answer that nothing changes on its way: FastAPI takes a response as it is.

    The routes still say what is in it, for OpenAPI.
    """
    return cast("dict[str, Any]", Json(_seen(request, desk, data), status))


def _seen(request: Request, desk: Desk, data: Any) -> Any:
    """Without the service's own paths."""
    team: Team | None = getattr(request.state, "team", None)
    home = desk.home(team) if team else desk.home(Team(name="nobody"))
    spec = getattr(request.state, "spec", None)
    entry: Entry | None = getattr(request.state, "entry", None)
    if spec is None and entry is not None:
        spec = reading.spec_of(entry)
    return shown(data, home, paths_said(spec))


def _on_ours(request: Request, error: Exception) -> Response:
    """An error of our tree."""
    assert isinstance(error, OptikitError)
    status, kind, message = status_of(error), type(error).__name__, str(error)
    if status == 503:
        _LOG.error("%s %a: %s: %a", request.method, request.url.path, kind, message)
    said = _seen(request, request.app.state.desk, message)
    return Json(body_of(kind, said), status, headers_of(error))


def _on_disk(request: Request, error: Exception) -> Response:
    """A folder or file that the service cannot use now: not the asker's fault."""
    _LOG.error("%s %a: %a", request.method, request.url.path, str(error))
    said = "the service cannot use its disk now; its log says why. Try again later"
    return Json(body_of("Unavailable", said), 503, {"Retry-After": "5"})


def _on_http(request: Request, error: Exception) -> Response:
    """No such route, or not by this method."""
    assert isinstance(error, HTTPException)
    kinds = {404: "NotFound", 405: "NoSuchMethod"}
    said = (
        f"{error.detail}: {request.method} {request.url.path}"
        if error.status_code in kinds
        else error.detail
    )
    body = body_of(kinds.get(error.status_code, "BadRequest"), str(said)[:300])
    return Json(body, error.status_code, error.headers)


def _on_invalid(request: Request, error: Exception) -> Response:
    """A parameter or body that is not what the API says."""
    assert isinstance(error, RequestValidationError)
    found = [
        f"'{'.'.join(str(part) for part in problem['loc'])}': {problem['msg']}"
        for problem in error.errors()[:10]
    ]
    return Json(body_of("BadRequest", "; ".join(found)[:2000]), 422)


def _on_bug(request: Request, error: Exception) -> Response:
    """Ours; the traceback is in the log alone."""
    number = secrets.token_hex(4)
    _LOG.error("%s %a: bug %s follows", request.method, request.url.path, number)
    said = f"the service failed; whoever runs it finds the reason in its log under {number}"
    return Json(body_of("Internal", said), 500)


def application(
    desk: Desk,
    check: Callable[[], None] = lambda: None,
    metrics: Metrics | None = None,
    https: bool = False,
) -> FastAPI:
    """The ASGI application.

    Args:
        check: raises what keeps the service from its work, for ``/healthz``.
        metrics: for ``/metrics``; None: it has none.
        https: whether the service is reached by TLS, also where something in front does that.
    """
    app = FastAPI(
        title="OptiKIT",
        version=__version__,
        description="LLM optimization as a job: submit a spec, follow it, fetch its result.",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
    )
    app.add_exception_handler(OptikitError, _on_ours)
    app.add_exception_handler(OSError, _on_disk)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_bug)
    app.state.desk, app.state.check = desk, check
    for router in (_open, _v1, _job):
        app.include_router(router)
    app.state.metrics = metrics
    folder = page.assets()
    if folder is not None:
        _with_page(app, folder)
    app.add_middleware(Browser, answer=Pages(desk), https=https)
    app.add_middleware(Bounded, limits=desk.limits)
    return app


def _with_page(app: FastAPI, folder: Path) -> None:
    """The interactive page at /docs."""

    def docs() -> Response:
        return HTMLResponse(page.HTML, headers={"Content-Security-Policy": page.POLICY})

    def part(name: str) -> Response:
        if name == "init.js":
            return Response(page.SCRIPT, media_type="text/javascript")
        if name not in page.FILES:
            raise NotFound("no such file of the page")
        return FileResponse(folder / name, media_type=page.FILES[name])

    app.add_api_route("/docs", docs, include_in_schema=False, response_class=HTMLResponse)
    app.add_api_route("/docs/{name}", part, include_in_schema=False, response_class=Response)
