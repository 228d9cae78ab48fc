"""What every engine promises."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from optikit.adapters.process import end_group, members
from optikit.core.load import plan_load
from optikit.engines.base import Engine, Server
from optikit.errors import BadInput, EngineDied, EngineStartFailed, PortInUse
from optikit.loadgen import GENERATORS
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.serving import ServingConfig
from optikit.spec.sku import DeviceKind
from optikit.spec.workload import Workload

__all__ = ["EngineContract", "Serve"]

Serve = Callable[..., AbstractContextManager[Server]]
_HOSTS = ("192.0.2.7", "192.0.2.8")
_PORTS = (41_357, 52_468)
_NOTICED_S = 20.0


class EngineContract:
    """Inherit and give ``engine``, ``model``, ``serving`` and ``broken``."""

    processes: ClassVar[bool] = True
    """It starts servers of its own, in process groups; False: simulated, or somebody else's."""
    device: ClassVar[DeviceKind] = "cpu"
    vocab: ClassVar[int] = 512
    start_timeout_s: ClassVar[float] = 300.0
    too_short_s: ClassVar[float] = 0.5
    """No server of this engine is ready so soon."""

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine under test."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> Path:
        """Folder of a model that it serves."""
        raise NotImplementedError

    @pytest.fixture
    def serving(self) -> ServingConfig:
        """A configuration with which it serves: 32 tokens of context, or more."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self, serving: ServingConfig) -> ServingConfig:
        """A configuration with which the start fails as ``illegal flag``."""
        raise NotImplementedError

    @pytest.fixture
    def groups(self) -> Any:
        """Process groups that a test started; what is left of them is ended after it."""
        started: list[ProcessGroup] = []
        yield started
        for group in started:
            end_group(group, grace_s=0.5)

    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        """Where the server writes."""
        return tmp_path / "logs" / "engine.log"

    @pytest.fixture
    def serve(
        self,
        engine: Engine,
        model: Path,
        serving: ServingConfig,
        log: Path,
        groups: list[ProcessGroup],
    ) -> Serve:
        """``engine.serve`` with what a stage gives."""

        def start(config: ServingConfig = serving, **given: Any) -> AbstractContextManager[Server]:
            given = {"start_timeout_s": self.start_timeout_s, "on_start": groups.append, **given}
            what = "server of the contract"
            return engine.serve(
                model, config, self.device, vocab=self.vocab, log=log, what=what, **given
            )

        return start

    def answers(self, engine: Engine, endpoint: Endpoint) -> None:
        """Fail unless requests of exact lengths are answered by as many tokens as asked."""
        workload = Workload.parse({"prompt_tokens": 12, "output_tokens": 4})
        load = plan_load(workload, None, 6, 1)
        generator = GENERATORS.load("simulated" if engine.facts.simulated else "openai")
        timings = generator.run(endpoint, load, concurrency=2, timeout_s=120)
        assert dict(timings.errors) == {}
        assert timings.prompt_tokens.tolist() == [12] * 6
        assert timings.output_tokens.tolist() == [4] * 6

    def kill(self, groups: list[ProcessGroup]) -> None:
        """End the server behind the engine's back."""
        for pid in members(groups[-1]):
            os.kill(pid, signal.SIGKILL)

    def test_it_crosses_processes_and_has_a_name(self, engine: Engine) -> None:
        """A worker gets it pickled."""
        assert pickle.loads(pickle.dumps(engine)).facts == engine.facts  # noqa: S301
        assert engine.facts.name
        assert engine.facts.serves.get(self.device)

    def test_it_says_what_it_is(self, engine: Engine) -> None:
        """The version and the packages go into records."""
        assert engine.version()
        packages = engine.packages()
        assert all(isinstance(word, str) for pair in packages.items() for word in pair)
        if self.processes:
            assert engine.version() in packages.values()

    def test_a_flag_that_it_does_not_know_is_refused_before_a_start(
        self, engine: Engine, serving: ServingConfig
    ) -> None:
        """A plan asks this for every configuration of a search."""
        engine.check(serving, self.device)
        unknown = serving.model_copy(update={"extra_flags": (("no-such-flag", 3),)})
        with pytest.raises(BadInput, match=r"no.such.flag"):
            engine.check(unknown, self.device)

    def test_the_plain_command_is_what_a_script_fills_in(
        self, engine: Engine, model: Path, serving: ServingConfig
    ) -> None:
        """``serve.sh`` puts address and port into it, and finds them by their change."""
        if not engine.command(model, serving, self.device, host="h", port=1):
            pytest.skip("it starts nothing, so that there is no command")
        one, two = (
            engine.command(model, serving, self.device, host=host, port=port, name="served")
            for host, port in zip(_HOSTS, _PORTS, strict=True)
        )
        assert len(one) == len(two)
        changed = [pair for pair in zip(one, two, strict=True) if pair[0] != pair[1]]
        assert {word for pair in changed for word in pair} == {*_HOSTS, *map(str, _PORTS)}
        assert "served" in one
        assert any(str(model.absolute()) in word or str(model) in word for word in one)
        given = engine.environment(serving, self.device)
        assert all(isinstance(word, str) for pair in given.items() for word in pair)
        assert not [name for name in given if "KEY" in name or "TOKEN" in name]

    def test_a_whole_life(
        self, engine: Engine, serve: Serve, log: Path, groups: list[ProcessGroup]
    ) -> None:
        """It answers once it is said ready, tells its group, keeps its key, and leaves nothing."""
        with serve() as server:
            assert server.startup_s >= 0
            server.check()
            self.answers(engine, server.endpoint)
            server.check()
            assert len(groups) == (1 if self.processes else 0)
            key = server.endpoint.api_key
            if self.processes:
                assert groups[0].port == urlsplit(server.endpoint.base_url).port
                assert groups[0].what == "server of the contract"
                assert len(members(groups[0])) > 1
                assert key
                assert key not in " ".join([*server.command, *map(_words, members(groups[0]))])
            if key and log.exists():
                assert key.encode() not in log.read_bytes()
        assert [pid for group in groups for pid in members(group)] == []
        assert not key or not log.exists() or key.encode() not in log.read_bytes()

    def test_it_listens_where_it_is_told_and_ends_with_a_block_that_fails(
        self, serve: Serve, groups: list[ProcessGroup]
    ) -> None:
        """Whatever ends the block, no process of it stays."""
        if not self.processes:
            pytest.skip("it has no port of its own")
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = int(place.getsockname()[1])
        with pytest.raises(BadInput, match="inside the block"), serve(port=port) as server:
            _fail_inside(urlsplit(server.endpoint.base_url).port == port)
        assert members(groups[0]) == []

    def test_a_taken_port_is_no_start(self, serve: Serve, groups: list[ProcessGroup]) -> None:
        """Somebody else's server would be measured in its place."""
        if not self.processes:
            pytest.skip("it has no port of its own")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = int(taken.getsockname()[1])
            with pytest.raises(PortInUse, match=str(port)), serve(port=port):
                pytest.fail("it must not start")
        assert groups == []

    def test_a_start_that_fails_says_why(
        self, serve: Serve, broken: ServingConfig, groups: list[ProcessGroup]
    ) -> None:
        """A tuner learns from the class of the failure, a person from the end of the log."""
        with pytest.raises(EngineStartFailed) as error, serve(broken):
            pytest.fail("it must not start")
        assert error.value.cause == "illegal flag"
        if self.processes:
            assert "likely cause: illegal" in str(error.value)
            assert "\n  | " in str(error.value)
        assert [pid for group in groups for pid in members(group)] == []

    def test_a_start_that_takes_too_long_is_ended(
        self, serve: Serve, groups: list[ProcessGroup]
    ) -> None:
        """And its processes with it."""
        if not self.processes:
            pytest.skip("nothing is started")
        with (
            pytest.raises(EngineStartFailed, match="no whole completion within") as error,
            serve(start_timeout_s=self.too_short_s),
        ):
            pytest.fail("it cannot be ready so soon")
        assert error.value.cause == "timeout"
        assert members(groups[0]) == []

    def test_a_server_that_died_is_noticed(self, serve: Serve, groups: list[ProcessGroup]) -> None:
        """``check`` is asked while a rate is measured."""
        with serve() as server:
            server.check()
            self.kill(groups)
            with pytest.raises(EngineDied, match=r"\S"):
                _check_for_a_while(server)
        assert [pid for group in groups for pid in members(group)] == []


def _fail_inside(as_told: bool) -> None:
    assert as_told
    raise BadInput("inside the block")


def _check_for_a_while(server: Server) -> None:
    deadline = time.monotonic() + _NOTICED_S
    while time.monotonic() < deadline:
        server.check()
        time.sleep(0.1)


def _words(pid: int) -> str:
    """The command line of a process, as others see it."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    return text.replace("\0", " ")
