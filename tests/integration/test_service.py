"""The whole service: real server, real queue, real drivers; jobs in virtual time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from optikit.api import leftovers
from optikit.archive import JobArchive, jobs
from optikit.errors import BadInput, UnknownName
from optikit.service.client import ServedJob
from tests.running import ROOT, environment
from tests.service_case import SPEC
from tests.services import RunningService, by_command, running_service, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.beside, pytest.mark.timeout(300)]

LONG: dict[str, Any] = {
    **SPEC,
    "flow": "tune",
    "flow_params": {"num_trials": 10, "space": {"tensor_parallel": [1, 2]}},
    "workload": {"prompt_tokens": 128, "output_tokens": 16},
    "method": {"name": "doubling", "requests_per_probe": 60, "max_probes": 6},
    "tuner": {"name": "random", "finalists": 0, "racing": False},
}
"""Long enough to be killed in the middle of."""
FINAL = ("done", "negative", "inconclusive")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "the service"


def add_team(home: Path, name: str) -> str:
    return str(
        json.loads(by_command(home, "teams", "add", name, "--home", str(home), "--json").stdout)[
            "token"
        ]
    )


def archive_of(home: Path, team: str, job: ServedJob) -> JobArchive:
    return JobArchive(home / "teams" / team, job.id)


def ran(archive: JobArchive) -> list[str]:
    """States in the journal; ``starting`` is the queue's word."""
    return [event["state"] for event in archive.of_kind("state") if event["state"] != "starting"]


def trials_of(archive: JobArchive) -> list[str]:
    return [event["trial"]["id"] for event in archive.of_kind("trial")]


def spec_file(folder: Path, spec: dict[str, Any]) -> str:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def test_a_job_from_login_to_result(home: Path, tmp_path: Path) -> None:
    """By the command line alone, as a team uses it."""
    token, other = add_team(home, "vision"), add_team(home, "speech")
    spec = spec_file(tmp_path, SPEC)
    with running_service(home) as service:
        at = ["--server", service.url]
        refused = by_command(home, "list", *at, code=2)
        assert "optikit login" in refused.stderr
        by_command(home, "login", service.url, "--token-stdin", stdin=token + "\n")
        followed = by_command(home, "submit", spec, *at).stdout
        assert "SIMULATED: job j" in followed
        assert "stage benchmark: done" in followed
        assert "SIMULATED: Result" in followed
        facts = json.loads(by_command(home, "show", "last", *at, "--json").stdout)
        assert facts["state"] == "done"
        assert facts["archive"] == f"~/jobs/{facts['id']}"
        assert (
            json.loads(by_command(home, "status", facts["id"], *at, "--json").stdout)["state"]
            == "done"
        )
        assert facts["id"] in by_command(home, "list", *at).stdout
        events = json.loads(by_command(home, "logs", facts["id"], *at, "--json").stdout)
        assert events[0]["kind"] == "created"
        trial = next(e["trial"] for e in events if e["kind"] == "trial_started")
        assert by_command(home, "logs", facts["id"], *at, "--trial", trial).stdout
        by_command(home, "resume", facts["id"], *at, code=2)
        theirs = service.server(other)
        assert list(theirs.jobs()) == []
        with pytest.raises(UnknownName):
            ServedJob(theirs, facts["id"]).status()
        log = service.log
    said = followed + log.read_text() + "".join(service.said)
    files = [p for p in home.rglob("*") if p.is_file()]
    for secret in (token, other):
        assert secret not in said
        assert [p for p in files if secret.encode() in p.read_bytes()] == []
    assert leftovers(home / "teams/vision") == []


def test_bad_specs_are_the_teams_to_mend(home: Path, tmp_path: Path) -> None:
    with running_service(home) as service:
        assert "is the team default" in "".join(service.said)
        at = ["--server", service.url]
        spec = spec_file(tmp_path, {**SPEC, "flow": "quantise"})
        refused = by_command(home, "submit", spec, *at, code=2)
        assert "unknown flow" in refused.stderr
        assert refused.stderr.count("\n") == 1
        real = spec_file(tmp_path, {**SPEC, "engine": "vllm", "model": {"name": "unheard-of"}})
        refused = by_command(home, "submit", real, *at, code=2)
        assert "unheard-of" in refused.stderr
        assert str(home) not in refused.stderr
        for path in ("/etc", str(home / "teams"), "../other", "/proc/self/environ"):
            outside = spec_file(tmp_path, {**SPEC, "dataset": {"path": path}})
            assert "dataset.path" in by_command(home, "submit", outside, *at, code=2).stderr
        assert by_command(home, "list", *at, "--json").stdout.strip() == "[]"


def test_the_service_is_killed_and_every_job_ends_once(home: Path) -> None:
    """One runs, others wait; drivers outlive the service and are found again."""
    token = add_team(home, "a")
    with running_service(home) as service:
        server = service.server(token)
        sent = [server.submit(LONG, 0, f"key-{number}") for number in range(3)]
        wait_until(sent[0], lambda s: s["state"] == "running")
        archive = archive_of(home, "a", sent[0])
        until = time.monotonic() + 60
        while not trials_of(archive):
            assert time.monotonic() < until
            time.sleep(0.05)
        service.kill()
    assert ran(archive) == ["running"], "it was killed in the middle of the job"
    with running_service(home) as service:
        server = service.server(token)
        again = [server.submit(LONG, 0, f"key-{number}") for number in range(3)]
        assert [job.id for job in again] == [job.id for job in sent]
        for job in again:
            wait_until(job, lambda s: s["state"] in FINAL, 240)
            archive = archive_of(home, "a", job)
            first, last = ran(archive)
            assert first == "running"
            assert last in FINAL
            assert len(trials_of(archive)) == len(set(trials_of(archive)))
            assert job.result().summary["id"] == job.id
        assert len(jobs(home / "teams/a")) == 3
        wait_for_ends(home, service, token)
    assert leftovers(home / "teams/a") == []


def wait_for_ends(home: Path, service: RunningService, token: str) -> None:
    """The queue has written down that nothing lives any more."""
    until = time.monotonic() + 20
    while service.server(token)._get("/v1/queue")["jobs"]:
        assert time.monotonic() < until
        time.sleep(0.1)


KILLED = """
import os, signal, sys
from pathlib import Path
from optikit.service.database import Database
from tests.service_case import SPEC, QuietQueue
from optikit.service.desk import Desk
database = Database(Path(sys.argv[1]))
desk = Desk(database, QuietQueue())
def dies(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before the queue":
    Database.set_state = dies
else:
    import optikit.archive
    optikit.archive.write_json = dies
desk.submit(database.teams()[0], SPEC, 0, "k")
"""


@pytest.mark.parametrize("when", ["before the queue", "before the archive"])
def test_a_submission_that_was_killed_is_neither_lost_nor_doubled(home: Path, when: str) -> None:
    token = add_team(home, "a")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), when],
        cwd=ROOT,
        env={**environment(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [archive.job_id for archive in jobs(home / "teams/a")]
    assert len(left) == (when == "before the queue")
    with running_service(home) as service:
        assert ("was submitted" if left else "half a submission") in "".join(service.said)
        job = service.server(token).submit(SPEC, 0, "k")
        assert left in ([job.id], [])
        wait_until(job, lambda s: s["state"] in FINAL)
        assert [row["id"] for row in service.server(token).jobs()] == [job.id]
        assert len(ran(archive_of(home, "a", job))) == 2


def test_a_running_and_a_waiting_job_are_cancelled_and_resumed(home: Path) -> None:
    token = add_team(home, "a")
    with running_service(home) as service:
        server = service.server(token)
        sent = [server.submit(LONG, 0, f"key-{number}") for number in range(3)]
        wait_until(sent[0], lambda s: s["state"] == "running")
        waits = wait_until(sent[2], lambda s: s["state"] == "queued")
        assert waits["exit_code"] is None
        assert sent[2].cancel() is True
        assert sent[0].cancel() is True
        assert sent[0].cancel() is False
        assert [job.status()["exit_code"] for job in (sent[0], sent[2])] == [130, 130]
        assert "running" not in ran(archive_of(home, "a", sent[2]))
        finished = trials_of(archive_of(home, "a", sent[0]))
        for job in (sent[0], sent[2]):
            until = time.monotonic() + 20
            while True:
                try:
                    job.resume()
                    break
                except BadInput:  # the queue has not yet seen its end
                    assert time.monotonic() < until
                    time.sleep(0.1)
        for job in sent:
            wait_until(job, lambda s: s["state"] in FINAL, 240)
        trials = trials_of(archive_of(home, "a", sent[0]))
        assert trials[: len(finished)] == finished
        assert len(trials) == len(set(trials)), "no finished trial ran again"
        wait_for_ends(home, service, token)
    assert leftovers(home / "teams/a") == []


def test_sigterm_ends_the_service_alone(home: Path) -> None:
    token = add_team(home, "a")
    with running_service(home) as service:
        job = service.server(token).submit(LONG, 0, "k")
        wait_until(job, lambda s: s["state"] == "running")
        pid = archive_of(home, "a", job).of_kind("state")[-1]["pid"]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        os.kill(pid, 0)  # raises where the driver is gone
    with running_service(home) as service:
        job = service.server(token).job("last")
        wait_until(job, lambda s: s["state"] in FINAL, 240)
    assert len(ran(archive_of(home, "a", job))) == 2


def test_a_home_has_one_service(home: Path) -> None:
    with running_service(home) as service:
        refused = by_command(home, "serve", "--home", str(home), "--port", "0", code=2)
        assert f"process {service.process.pid}" in refused.stderr


def test_a_team_that_comes_ends_the_open_service(home: Path) -> None:
    """No token is asked for where there is no team; with the first team that is over at once."""
    with running_service(home) as service:
        assert service.server(None).team()["name"] == "default"
        token = add_team(home, "a")
        with pytest.raises(BadInput, match="asks for a token"):
            service.server(None).team()
        assert service.server(token).team()["name"] == "a"
        job = service.server(token).submit(SPEC, 0, "k")
        assert wait_until(job, lambda s: s["state"] in FINAL)["state"] == "done"


def test_tls(home: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(
        [*made, "-keyout", str(key), "-out", str(cert), *names], check=True, capture_output=True
    )
    token = add_team(home, "a")
    with running_service(home, "--tls-cert", str(cert), "--tls-key", str(key)) as service:
        assert service.url.startswith("https://127.0.0.1:")
        listing = ["list", "--server", service.url]
        trusting = {"OPTIKIT_TOKEN": token, "SSL_CERT_FILE": str(cert)}
        assert by_command(home, *listing, variables=trusting).stdout
        refused = by_command(home, *listing, code=1, variables={"OPTIKIT_TOKEN": token})
        assert "certificate" in refused.stderr.lower()
