"""The load client against a real HTTP server of known service time, on loopback."""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optikit.core.load import Load, plan_load
from optikit.core.timings import Timings
from optikit.errors import BadInput
from optikit.loadgen.openai import GENERATOR, OpenAIGenerator
from optikit.spec.workload import Workload
from tests.servers import VOCAB, Server, served

pytestmark = pytest.mark.integration

WORKLOAD = Workload.parse({"prompt_tokens": 32, "output_tokens": 4})


def _plan(count: int, rate: float | None, **parts: Any) -> Load:
    workload = parts.pop("workload", WORKLOAD)
    return plan_load(workload, rate, count, 1, **parts)


def _all_ok(timings: Timings) -> bool:
    return bool(timings.ok.all())


# ---- times


def test_times_and_counts_of_an_open_loop() -> None:
    plan = _plan(60, 60.0)
    with served(Server(first_s=0.05, token_s=0.02)) as endpoint:
        timings = GENERATOR.run(endpoint, plan, keep_tokens=True)
    assert timings.scheduled_s.tolist() == plan.at_s.tolist()
    assert _all_ok(timings), timings.errors
    assert set(timings.prompt_tokens.tolist()) == {32}
    assert set(timings.output_tokens.tolist()) == {4}
    ttft, e2e = timings.first_token_s - timings.sent_s, timings.end_s - timings.sent_s
    assert 0.05 <= np.median(ttft) < 0.1  # the client's own share is a few ms
    assert 0.11 <= np.median(e2e) < 0.2
    assert timings.token_s is not None
    assert timings.token_offsets is not None
    assert timings.token_offsets.tolist() == list(range(0, 241, 4))
    arrivals = timings.token_s.reshape(60, 4)
    assert arrivals[:, 0].tolist() == timings.first_token_s.tolist()
    assert 0.018 <= np.median(np.diff(arrivals, axis=1)) < 0.04
    lag = timings.sent_s - timings.scheduled_s
    assert lag.min() > -1e-4
    assert np.median(lag) < 0.05  # other work on the machine must not fail a test


def test_requests_are_what_was_planned() -> None:
    server = Server()
    plan = _plan(5, 100.0)
    with served(server) as endpoint:
        GENERATOR.run(endpoint, plan)
    sent = sorted(tuple(body["prompt"]) for body in server.bodies)
    assert sent == sorted(plan.prompts(VOCAB))
    wanted = {"model": "fake", "max_tokens": 4, "min_tokens": 4, "ignore_eos": True}
    wanted |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    for body in server.bodies:
        assert body == wanted | {"prompt": body["prompt"]}
    assert set(server.headers) == {"Bearer secret"}


def test_an_open_loop_never_waits_for_answers() -> None:
    server = Server(first_s=1.5)
    with served(server) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(150, 300.0))
    assert _all_ok(timings)
    assert timings.sent_s.max() < timings.end_s.min()
    assert server.most_in_flight > 100  # aiohttp's own limit of connections


def test_a_closed_loop_keeps_so_many_in_flight_and_reuses_connections() -> None:
    server = Server(first_s=0.05)
    with served(server) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(20, None), concurrency=4)
    assert server.most_in_flight == 4
    assert len(server.peers) == 4
    assert timings.scheduled_s == pytest.approx(timings.sent_s, abs=5e-3)
    waves = sorted(timings.scheduled_s.tolist())[::4]
    assert all(later - earlier >= 0.05 for earlier, later in itertools.pairwise(waves))


def test_several_tokens_in_an_event_share_its_arrival() -> None:
    with served(Server(tokens_an_event=2, token_s=0.02)) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(3, 50.0), keep_tokens=True)
    assert _all_ok(timings), timings.errors
    assert timings.output_tokens.tolist() == [4, 4, 4]
    assert timings.token_offsets is not None
    assert timings.token_offsets.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("fault", ["half", "blank"])
def test_a_blank_event_is_a_token_only_where_the_count_says_so(fault: str) -> None:
    server = Server(first_s=0.1, token_s=0.1, fault=fault)
    with served(server) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(2, None), concurrency=2, keep_tokens=True)
    assert _all_ok(timings), timings.errors
    ttft = timings.first_token_s - timings.sent_s
    # half: the blank first token comes at 0.1 s; blank: three empty events come at once
    assert (ttft >= 0.1).all()
    assert (ttft < 0.19).all()
    assert timings.token_offsets is not None
    assert timings.token_offsets.tolist() == [0, 4, 8]


# ---- the end of a run


def test_requests_behind_the_measured_ones_are_dropped() -> None:
    server = Server(first_s=0.3)
    plan = _plan(10, 50.0, before=5, after=400)
    with served(server) as endpoint:
        began = time.monotonic()
        timings = GENERATOR.run(endpoint, plan)
        assert time.monotonic() - began < 4.0  # the whole plan takes 8.3 s
    assert (timings.first, timings.last) == (5, 15)
    assert timings.ok[5:15].all()
    assert not timings.errors
    sent = np.isfinite(timings.sent_s)
    assert sent[15:25].all()  # the load was kept up
    assert (sent & ~np.isfinite(timings.end_s))[15:].any()
    assert not sent[200:].any()


def test_a_closed_loop_ends_with_its_measured_requests() -> None:
    server = Server(first_s=0.05)
    with served(server) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(8, None, before=4, after=100), concurrency=4)
    assert timings.ok[:12].all()
    assert len(server.bodies) < 24
    assert not timings.errors


def test_watch_ends_a_run_whose_verdict_is_clear() -> None:
    looks: list[Timings] = []

    def watch(timings: Timings) -> bool:
        looks.append(timings)
        return len(looks) == 3

    with served(Server(first_s=0.1)) as endpoint:
        timings = GENERATOR.run(
            endpoint, _plan(400, 100.0), watch=watch, watch_every=10, keep_tokens=True
        )
    ended = [int(np.isfinite(look.end_s).sum()) for look in looks]
    assert ended == [10, 20, 30]
    assert looks[0].token_s is not None
    assert len(looks[0].token_s) >= 40
    assert not timings.errors
    assert np.isfinite(timings.sent_s).sum() < 200


def test_what_watch_raises_comes_out() -> None:
    def watch(timings: Timings) -> bool:
        raise BadInput("enough")

    with served(Server()) as endpoint, pytest.raises(BadInput, match="enough"):
        GENERATOR.run(endpoint, _plan(40, 200.0), watch=watch, watch_every=5)


@pytest.mark.parametrize("fault", ["hang", "silent"])
def test_the_deadline_ends_what_hangs_and_lets_go_of_the_server(fault: str) -> None:
    server = Server(fault=fault)
    with served(server) as endpoint:
        began = time.monotonic()
        timings = GENERATOR.run(endpoint, _plan(30, 20.0), timeout_s=1.0)
        assert time.monotonic() - began < 10.0  # the server would hang for 30
        assert set(timings.errors.values()) == {"not finished in 1 s"}
        assert len(timings.errors) == 30
        sent = np.isfinite(timings.sent_s)
        assert 5 < sent.sum() < 30  # what was due later was not sent
        assert (timings.scheduled_s[sent] <= 1.0).all()
        deadline = time.monotonic() + 10.0
        while server.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.in_flight == 0
        assert 5 < server.dropped <= sent.sum()


# ---- what goes wrong


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", 'HTTP 400: {"message": "no\\n 400"'),
        ("429", "HTTP 429: "),
        ("500", "HTTP 500: "),
        ("strict", "HTTP 422: the server refuses min_tokens or ignore_eos; enforce_length: false"),
        ("redirect", "client: HTTP 307, a redirect that is not followed, to http://127.0.0.1:9"),
        ("plain json", "asked for a stream, got plain JSON"),
        ("stream error", "error in the stream: engine is dead"),
        ("hang up", "the server closed the connection before the answer was whole"),
        ("cut", "the stream ended without its [DONE]"),
        ("garbage", "unreadable event: b'{not json'"),
        ("huge", "an event of more than 1 MB"),
        ("short", "asked 4 tokens, got 3"),
        ("endless", "asked 4 tokens, got more than 12: cut"),
        ("miscount", "asked 32 prompt tokens, the server counted 34"),
        ("no usage", "asked for usage, got none"),
    ],
)
def test_what_goes_wrong_is_written_down(fault: str, error: str) -> None:
    with served(Server(fault=fault, every=3)) as endpoint:
        began = time.monotonic()
        timings = GENERATOR.run(endpoint, _plan(6, None), concurrency=1, timeout_s=20.0)
        assert time.monotonic() - began < 5.0
    assert timings.ok.tolist() == [True, True, False] * 2  # the others are as they should be
    assert list(timings.errors) == [2, 5]
    for text in timings.errors.values():
        assert text.startswith(error)
        assert len(text) < 220
        assert "Traceback" not in text


def test_an_answer_whose_connection_stays_open_is_whole() -> None:
    with served(Server(fault="open end")) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(2, None), concurrency=2)
    assert _all_ok(timings), timings.errors
    assert (timings.end_s - timings.sent_s).max() < 0.4  # the wait for the end is not latency


def test_without_enforcement_shorter_answers_are_taken() -> None:
    server = Server(fault="short")
    with served(server, enforce_length=False) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(3, None), concurrency=1)
    assert _all_ok(timings), timings.errors
    assert timings.output_tokens.tolist() == [3, 3, 3]
    assert not {"min_tokens", "ignore_eos"} & set(server.bodies[0])


def test_nobody_listens() -> None:
    with served(Server()) as endpoint:
        pass
    timings = GENERATOR.run(endpoint, _plan(2, None), concurrency=1)
    assert list(timings.errors.values()) == ["connection refused"] * 2
    text = endpoint.model_copy(update={"prompts": "text"})
    timings = GENERATOR.run(text, _plan(2, None), concurrency=1)
    assert set(timings.errors.values()) == {"connection refused (asked to count prompt tokens)"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with served(Server(), tls) as endpoint:
        timings = GENERATOR.run(endpoint, _plan(2, None), concurrency=1)
    for text in timings.errors.values():
        assert text.startswith("client: the server's certificate is not trusted: ")
        assert "self-signed" in text
    assert len(timings.errors) == 2


def test_it_runs_in_a_thread_too() -> None:
    found: list[Timings] = []
    with served(Server()) as endpoint:
        thread = threading.Thread(
            target=lambda: found.append(GENERATOR.run(endpoint, _plan(3, 50.0)))
        )
        thread.start()
        thread.join(10)
    assert _all_ok(found[0])


# ---- text prompts


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("tokenizer", ["right", "wrong", "missing"])
def test_text_of_exactly_the_asked_length(api: str, tokenizer: str) -> None:
    server = Server(tokenizer=tokenizer, long_words=("the", "time", "people", "man"))
    workload = Workload.parse(
        {"prompt_tokens": 40, "output_tokens": 4, "prefix_tokens": 20},
    )
    generator = OpenAIGenerator()
    with served(server, api=api, prompts="text", vocab=0) as endpoint:
        timings = generator.run(endpoint, _plan(20, None, workload=workload), concurrency=4)
        asked = len(server.counted)
        again = generator.run(endpoint, _plan(20, None, workload=workload), concurrency=4)
    assert _all_ok(timings), timings.errors
    assert _all_ok(again)
    assert set(timings.prompt_tokens.tolist()) == {40}
    assert len(server.counted) == asked  # what was learned is kept
    assert server.counted.count("tokenize" if tokenizer == "right" else "answer") > 5
    texts = [
        body["messages"][0]["content"] if api == "chat" else body["prompt"]
        for body in server.bodies[:20]
    ]
    overhead = server.template + 1 if api == "chat" else 1
    heads = {" ".join(text.split()[: 20 - overhead + 1]) for text in texts}
    assert len(heads) == 1
    assert len({" ".join(text.split()[20 - overhead + 1 :]) for text in texts}) == 20


def test_a_prompt_shorter_than_the_template() -> None:
    with (
        served(Server(template=50), api="chat", prompts="text") as endpoint,
        pytest.raises(BadInput, match="template and the first word take 51"),
    ):
        OpenAIGenerator().run(endpoint, _plan(2, None), concurrency=1)


def test_a_server_that_hangs_while_it_counts() -> None:
    with served(Server(), api="chat", prompts="text") as endpoint:
        pass
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, never answers
        port = deaf.getsockname()[1]
        moved = endpoint.model_copy(update={"base_url": f"http://127.0.0.1:{port}"})
        began = time.monotonic()
        timings = OpenAIGenerator().run(moved, _plan(2, None), concurrency=1, timeout_s=0.5)
        assert time.monotonic() - began < 5.0
    expected = "not finished in 0.5 s: the server does not count prompt tokens"
    assert set(timings.errors.values()) == {expected}
