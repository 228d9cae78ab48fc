"""The pages of the service: jobs, one job as it runs, its certificate, report, files; signing in.

A team sees here what the API would tell it, by the same questions to the desk. Pages are whole
without JavaScript; with it they refresh themselves (static/live.js).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from optikit import __version__
from optikit.adapters.jinja2 import page_templates
from optikit.errors import OptikitError
from optikit.service import files, live, page, reading
from optikit.service.browser import Answer, Asked, same_origin
from optikit.service.certified import certificate_facts
from optikit.service.database import Entry
from optikit.service.desk import Desk
from optikit.service.listing import FILTERS, Listing
from optikit.service.metrics import LOOPBACK_NAMES
from optikit.service.refusals import NotAllowed, NotFound, Refused, status_of
from optikit.service.reported import Reports
from optikit.service.sessions import Sessions
from optikit.service.shown import paths_said, shown
from optikit.service.tokens import digest_of_token
from optikit.spec.queue import Team

__all__ = ["Pages"]

_LOG = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_STATIC = {
    "live.js": "text/javascript; charset=utf-8",
    "pages.css": "text/css; charset=utf-8",
}
_NEXT = re.compile(r"/jobs(?:/[a-z0-9-]{1,81}(?:/(?:certificate|report|files))?)?")
"""Where a sign-in may lead: a page of this service, never another one."""
_OF_A_FILE = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; "
    "sandbox"
)
_JOB = r"/jobs/(?P<job>[^/]+)"
_JOB_POLL_S, _LIST_POLL_S = 2, 10


class NotOurs(Refused):
    """A form that no page of this service sent."""

    status = 403


class NoSuchMethod(Refused):
    """Not by this method."""

    status = 405


class Pages:
    """Answers a browser; may be asked from any thread.

    Raises:
        OptikitError: Jinja2 is not installed.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sessions, self._reports, self._listing = Sessions(), Reports(), Listing(desk)
        self._templates = page_templates(_HERE / "templates")
        self._templates.filters["quoted"] = partial(quote, safe="")
        self._api_page = page.assets() is not None
        self._open: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            ("GET", re.compile(r"/static/(?P<name>[^/]+)"), self._static),
            ("GET", re.compile(r"/sign-in"), self._sign_in_page),
            ("POST", re.compile(r"/sign-in"), self._sign_in),
            ("POST", re.compile(r"/sign-out"), self._sign_out),
        ]
        self._of_a_team: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = [
            ("GET", re.compile(r"/"), lambda asked, team: _to("/jobs")),
            ("GET", re.compile(r"/jobs"), self._jobs),
            ("GET", re.compile(_JOB), self._job),
            ("POST", re.compile(rf"{_JOB}/cancel"), self._cancel),
            ("GET", re.compile(rf"{_JOB}/certificate"), self._certificate),
            ("GET", re.compile(rf"{_JOB}/report"), self._report),
            ("GET", re.compile(rf"{_JOB}/files"), self._files),
            ("GET", re.compile(rf"{_JOB}/files/(?P<name>.+)", re.DOTALL), self._file),
        ]

    def __call__(self, asked: Asked) -> Answer:
        """The answer; an error of ours is a page too."""
        team: Team | None = None
        try:
            if asked.method == "POST" and not same_origin(asked):
                raise NotOurs("the form was not sent by a page of this service; open it anew here")
            found = self._routed(self._open, asked)
            if found is not None:
                return found()
            team = self._team(asked)
            found = self._routed(self._of_a_team, asked, team)
            if found is None:
                raise NotFound(f"no such page: {asked.path!a:.200}")
            return found()
        except NotAllowed:
            if asked.method == "POST":
                return _to("/sign-in")
            wanted = asked.path if _NEXT.fullmatch(asked.path) else "/jobs"
            return _to(f"/sign-in?{urlencode({'next': wanted})}")
        except OptikitError as error:
            return self._refused(asked, team, error)
        except OSError as error:
            _LOG.error("%s %a: %a", asked.method, asked.path, str(error))
            said = "the service cannot use its disk now; its log says why. Try again later"
            return self._problem(asked, team, said, 503)

    def _routed(
        self,
        routes: list[tuple[str, re.Pattern[str], Callable[..., Answer]]],
        asked: Asked,
        *given: Any,
    ) -> Callable[[], Answer] | None:
        method = "GET" if asked.method == "HEAD" else asked.method
        there = [(m, match, act) for m, at, act in routes if (match := at.fullmatch(asked.path))]
        for known, match, act in there:
            if known == method:
                return partial(act, asked, *given, **match.groupdict())
        if there:
            raise NoSuchMethod(f"{asked.method} is not for {asked.path!a:.200}")
        return None

    # -- who

    def _team(self, asked: Asked) -> Team:
        """Whose browser it is.

        Raises:
            NotAllowed: nobody's, or the session is over.
        """
        session = asked.cookie(asked.cookie_name)
        digest = self._sessions.token_sha256(session) if session else None
        if digest is not None:
            return self._desk.team_of(digest)
        if asked.host not in LOOPBACK_NAMES:  # as the API: see rest.py
            raise NotAllowed("sign in first")
        return self._desk.team(None)

    def _sign_in_page(self, asked: Asked, problem: str = "", status: int = 200) -> Answer:
        given = asked.form.get("next") or asked.query.get("next") or ""
        wanted = given if _NEXT.fullmatch(given) else "/jobs"
        return self._html(
            asked, None, "sign-in", {"next": wanted, "problem": problem}, status=status
        )

    def _sign_in(self, asked: Asked) -> Answer:
        digest = digest_of_token(asked.form.get("token", "").strip())
        try:
            self._desk.team_of(digest)
        except NotAllowed:
            said = (
                "This token is no team's; it may have been replaced. Ask whoever runs the service."
            )
            return self._sign_in_page(asked, said, 401)
        given = asked.form.get("next", "")
        self._end_session(asked)
        session = self._sessions.begin(digest)
        return _to(given if _NEXT.fullmatch(given) else "/jobs", _cookie(asked, session))

    def _sign_out(self, asked: Asked) -> Answer:
        self._end_session(asked)
        return _to("/sign-in", f"{_cookie(asked, '')}; Max-Age=0")

    def _end_session(self, asked: Asked) -> None:
        session = asked.cookie(asked.cookie_name)
        if session:
            self._sessions.end(session)

    # -- pages of a team

    def _jobs(self, asked: Asked, team: Team) -> Answer:
        wanted = asked.query.get("state", "")
        wanted = wanted if wanted in FILTERS else ""
        found = self._listing.page(team, wanted, asked.query.get("before") or None)
        facts = {
            **shown(found, self._desk.home(team)),
            "filters": [{"name": name, "words": one.words} for name, one in FILTERS.items()],
            "state": wanted,
            "poll_s": _LIST_POLL_S if found["live"] else None,
            "server": f"{'https' if asked.https else 'http'}://{asked.headers.get('host', '')}",
        }
        return self._html(asked, team, "jobs", facts)

    def _job(self, asked: Asked, team: Team, job: str) -> Answer:
        entry = self._desk.entry(team, job)
        places = self._desk.queue(team)["jobs"]
        tag = f'"{live.version(entry, places)}"'
        if asked.headers.get("if-none-match") == tag:
            return Answer(status=304, headers={"ETag": tag})
        facts = self._seen(team, entry)(live.job_facts(entry, places))
        poll_s = None if facts["ended"] else _JOB_POLL_S
        return self._html(asked, team, "job", {"job": facts, "poll_s": poll_s}, {"ETag": tag})

    def _cancel(self, asked: Asked, team: Team, job: str) -> Answer:
        self._desk.cancel(team, job)
        return _to(f"/jobs/{job}")

    def _certificate(self, asked: Asked, team: Team, job: str) -> Answer:
        entry = self._desk.entry(team, job)
        archive = reading.archive_of(entry)
        facts = self._seen(team, entry)(certificate_facts(archive))
        return self._html(asked, team, "certificate", {"job": facts})

    def _report(self, asked: Asked, team: Team, job: str) -> Answer:
        entry = self._desk.entry(team, job)
        html, policy = self._reports.html(entry, self._seen(team, entry))
        return Answer(html, headers={"Content-Security-Policy": policy})

    def _files(self, asked: Asked, team: Team, job: str) -> Answer:
        entry = self._desk.entry(team, job)
        found = files.files_of(reading.archive_of(entry))
        rows = [{"name": name, "bytes": size} for name, size in found.items()]
        return self._html(asked, team, "files", {"job": {"id": entry.id}, "files": rows})

    def _file(self, asked: Asked, team: Team, job: str, name: str) -> Answer:
        entry = self._desk.entry(team, job)
        parts: Iterator[bytes] = files.parts_of(
            reading.archive_of(entry), name, self._seen(team, entry)
        )
        last = name.rpartition("/")[2]
        return Answer(
            parts,
            media_type=files.TYPES[Path(name).suffix],
            headers={
                # what a job wrote is shown, and runs nothing
                "Content-Security-Policy": _OF_A_FILE,
                "Content-Disposition": f"inline; filename*=UTF-8''{quote(last, safe='')}",
            },
        )

    def _seen(self, team: Team, entry: Entry) -> Callable[[Any], Any]:
        """What the team may read of a value: see shown.py."""
        said = paths_said(reading.spec_of(entry))
        return lambda data: shown(data, self._desk.home(team), said)

    # -- how it is said

    def _static(self, asked: Asked, name: str) -> Answer:
        if name not in _STATIC:
            raise NotFound(f"no such file: {name!a:.100}")
        return Answer((_HERE / "static" / name).read_bytes(), media_type=_STATIC[name])

    def _html(
        self,
        asked: Asked,
        team: Team | None,
        template: str,
        facts: dict[str, Any],
        headers: dict[str, str] | None = None,
        status: int = 200,
    ) -> Answer:
        base = {
            "path": asked.path,
            "team": team,
            "signed_in": team is not None and asked.cookie(asked.cookie_name) is not None,
            "api_page": self._api_page,
            "version": __version__,
            "poll_s": None,
        }
        text = self._templates.get_template(f"{template}.html.j2").render({**base, **facts})
        return Answer(text, status, headers=headers or {})

    def _refused(self, asked: Asked, team: Team | None, error: OptikitError) -> Answer:
        status = status_of(error)
        said = shown(str(error), self._desk.home(team or Team(name="nobody")))
        if status == 503:
            _LOG.error("%s %a: %s: %a", asked.method, asked.path, type(error).__name__, str(error))
        return self._problem(asked, team, said, status)

    def _problem(self, asked: Asked, team: Team | None, said: str, status: int) -> Answer:
        answer = self._html(asked, team, "problem", {"said": said, "status": status})
        return replace(answer, status=status)


def _to(path: str, cookie: str | None = None) -> Answer:
    headers = {"Location": path, **({"Set-Cookie": cookie} if cookie else {})}
    return Answer(status=303, headers=headers)


def _cookie(asked: Asked, session: str) -> str:
    secure = "; Secure" if asked.https else ""
    return f"{asked.cookie_name}={session}; Path=/; HttpOnly; SameSite=Strict{secure}"
