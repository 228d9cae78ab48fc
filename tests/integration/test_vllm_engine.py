"""The real engine on a tiny model, and its supervisor on servers of one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from optikit.adapters.process import end_group, free_port, group_of, members
from optikit.engines import _supervisor
from optikit.engines.base import Server
from optikit.engines.vllm import ENGINE
from optikit.errors import EngineDied, EngineStartFailed, PortInUse
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.serving import Flag, ServingConfig
from tests.models import tiny_llama

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
VOCAB = 512
SUPERVISOR = Path(_supervisor.__file__)


def serving(*extra: tuple[str, Flag]) -> ServingConfig:
    return ServingConfig(
        max_model_len=64, max_num_seqs=8, dtype="float32", enforce_eager=True, extra_flags=extra
    )


@pytest.fixture(scope="module")
def model() -> Path:
    return tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")


Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(model: Path, tmp_path: Path, groups: list[ProcessGroup]) -> Serve:
    def start(*extra: tuple[str, Flag], port: int | None = None) -> AbstractContextManager[Server]:
        return ENGINE.serve(
            model,
            serving(*extra),
            "cpu",
            vocab=VOCAB,
            log=tmp_path / "engine.log",
            port=port,
            start_timeout_s=240.0,
            on_start=groups.append,
        )

    return start


def until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return true()


def complete(endpoint: Endpoint, tokens: int, key: str | None) -> dict[str, int]:
    request = urllib.request.Request(
        f"{endpoint.base_url}/v1/completions",
        json.dumps(
            {"model": endpoint.model, "prompt": [5, 6, 7], "max_tokens": tokens, "ignore_eos": True}
        ).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        usage: dict[str, int] = json.loads(answer.read())["usage"]
    return usage


def commands(group: ProcessGroup) -> dict[int, str]:
    """Command line of each member."""
    found = {}
    for pid in members(group):
        try:
            text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except FileNotFoundError:
            continue
        found[pid] = text.replace("\0", " ")
    return found


# ---- vLLM


def test_two_servers_in_a_row_answer_and_leave_nothing(
    serve: Serve, groups: list[ProcessGroup]
) -> None:
    for _ in range(2):
        with serve() as server:
            server.check()
            usage = complete(server.endpoint, 9, server.endpoint.api_key)
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 9)
            with pytest.raises(urllib.error.HTTPError, match="401"):
                complete(server.endpoint, 1, "somebody else's key")
            assert str(server.endpoint.api_key) not in " ".join(commands(groups[-1]).values())
            queues = message_queues(groups[-1])
            assert queues
            print(f"ready after {server.startup_s:.1f} s")
        assert members(groups[-1]) == []
        assert [path for path in queues if path.exists()] == []
    assert groups[0].pgid != groups[1].pgid


def message_queues(group: ProcessGroup) -> set[Path]:
    """Shared memory that members of the group have mapped by name."""
    lines = [
        line
        for pid in members(group)
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
    ]
    return {Path(line.split()[-1]) for line in lines if "/dev/shm/psm_" in line}


def test_a_killed_api_server_is_noticed_and_takes_its_children_along(
    serve: Serve, groups: list[ProcessGroup]
) -> None:
    with serve() as server:
        api = next(pid for pid, line in commands(groups[0]).items() if is_api_server(line))
        os.kill(api, signal.SIGKILL)
        assert until(lambda: members(groups[0]) == [], 5.0), commands(groups[0])
        with pytest.raises(EngineDied, match=r"code 137.*killed"):
            server.check()


def is_api_server(line: str) -> bool:
    return "_vllm_forked.py" in line and "_supervisor.py" not in line


def test_a_killed_engine_core_is_noticed(serve: Serve, groups: list[ProcessGroup]) -> None:
    def dead(server: Server) -> bool:
        try:
            server.check()
        except EngineDied:
            return True
        return False

    with serve() as server:
        core = next(pid for pid, line in commands(groups[0]).items() if "EngineCore" in line)
        os.kill(core, signal.SIGKILL)
        assert until(lambda: dead(server), 20.0)


PARENT = """
import sys, time
from pathlib import Path
from optikit.engines.vllm import ENGINE
from optikit.spec.serving import ServingConfig

serving = ServingConfig(max_model_len=64, max_num_seqs=8, dtype="float32", enforce_eager=True)
with ENGINE.serve(Path(sys.argv[1]), serving, "cpu", vocab=512, log=Path(sys.argv[2]),
                  on_start=lambda group: print(group.model_dump_json(), flush=True)):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_when_the_parent_is_killed_the_server_ends(
    model: Path, tmp_path: Path, groups: list[ProcessGroup]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model), str(tmp_path / "log")], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        groups.append(ProcessGroup.parse(json.loads(parent.stdout.readline())))
        assert parent.stdout.readline() == b"ready\n", (tmp_path / "log").read_text()
        assert len(members(groups[0])) >= 4
        parent.kill()
    assert until(lambda: members(groups[0]) == [], 10.0), commands(groups[0])


def test_an_illegal_flag_is_named(serve: Serve) -> None:
    begun = time.monotonic()
    with (
        pytest.raises(EngineStartFailed, match=r"illegal flag[\s\S]*--no-such-flag"),
        serve(("no_such_flag", 3)),
    ):
        pytest.fail("it must not start")
    assert time.monotonic() - begun < 120


def test_a_taken_port_is_named(serve: Serve, groups: list[ProcessGroup]) -> None:
    port = free_port()
    listener = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert until(lambda: _answers(port), 20.0)
        with pytest.raises(PortInUse, match=str(port)), serve(port=port):
            pytest.fail("it must not start")
    finally:
        listener.kill()
        listener.wait()
    assert groups == []


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
    except OSError:
        return False
    return True


def test_the_plain_command_serves_by_itself(
    model: Path, tmp_path: Path, groups: list[ProcessGroup]
) -> None:
    port = free_port()
    command = ENGINE.command(model, serving(), "cpu", host="127.0.0.1", port=port)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"], **ENGINE.environment(serving(), "cpu")},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    groups.append(group_of(process.pid, "plain server"))
    try:
        assert until(lambda: process.poll() is not None or _answers_health(port), 240.0)
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{port}", model="tiny-llama", vocab=VOCAB)
        assert complete(endpoint, 2, None)["completion_tokens"] == 2
    finally:
        end_group(groups[0])
        process.wait()


def _answers_health(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
    except OSError:
        return False
    return True


# ---- the supervisor

TREE = """
import os, signal, sys, time
if os.fork() == 0 and os.fork() == 0 and "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"u")
{end}
"""
FOREVER = "time.sleep(600)"


@pytest.fixture
def supervised(groups: list[ProcessGroup]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(end: str, *words: str, grace_s: float = 1.0) -> subprocess.Popen[bytes]:
        """Three processes (a child, a grandchild) that each write a byte when they are up."""
        process = subprocess.Popen(
            [
                *(sys.executable, str(SUPERVISOR), str(os.getpid()), str(grace_s)),
                *(sys.executable, "-c", TREE.format(end=end), *words),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        groups.append(group_of(process.pid, "tree"))
        assert process.stdout is not None
        assert process.stdout.read(3) == b"uuu"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


Supervised = Callable[..., "subprocess.Popen[bytes]"]


def test_the_end_of_the_lifeline_ends_the_stubborn_too(
    supervised: Supervised, groups: list[ProcessGroup]
) -> None:
    process = supervised(FOREVER, "stubborn")
    assert len(members(groups[0])) == 5  # supervisor, guard, and the three
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)
    assert until(lambda: members(groups[0]) == [], 1.0), commands(groups[0])


def test_sigterm_ends_all(supervised: Supervised, groups: list[ProcessGroup]) -> None:
    process = supervised(FOREVER, "stubborn")
    process.terminate()
    process.wait(10)
    assert until(lambda: members(groups[0]) == [], 1.0), commands(groups[0])


def test_a_killed_supervisor_leaves_nothing(
    supervised: Supervised, groups: list[ProcessGroup]
) -> None:
    process = supervised(FOREVER, "stubborn")
    process.kill()
    process.wait(5)
    assert until(lambda: members(groups[0]) == [], 8.0), commands(groups[0])


def test_the_servers_code_is_kept_and_its_children_end(
    supervised: Supervised, groups: list[ProcessGroup]
) -> None:
    process = supervised(
        "time.sleep(1 if os.getppid() == os.getsid(0) else 600)\nos._exit(7)"
    )  # the server proper ends, its child and grandchild would stay
    assert process.wait(15) == 7
    assert until(lambda: members(groups[0]) == [], 1.0), commands(groups[0])


def test_end_group_ends_what_the_supervisor_guards(
    supervised: Supervised, groups: list[ProcessGroup]
) -> None:
    process = supervised(FOREVER, "stubborn")
    assert end_group(groups[0], grace_s=0.2) == []
    process.wait(5)
    assert members(groups[0]) == []
