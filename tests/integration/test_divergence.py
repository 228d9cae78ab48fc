"""Log-probabilities over a real socket, and from the real engine: damage shows as divergence."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from optikit.adapters.hardware import cpu_dtype
from optikit.core.divergence import DocumentLogprobs, diverge
from optikit.engines.vllm import ENGINE
from optikit.errors import BadInput, EngineError
from optikit.evaluators import divergence
from optikit.evaluators.divergence import CONCURRENCY, DIVERGENCE
from optikit.recipes import RECIPES
from optikit.spec.endpoint import Endpoint, ProcessGroup
from optikit.spec.serving import ServingConfig
from tests.models import tiny_llama

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
VOCAB, CONTEXT, TOP_K = 512, 256, 20
SERVING = ServingConfig(
    max_model_len=CONTEXT, max_num_seqs=8, dtype=cpu_dtype(), enforce_eager=True
)
VNNI = "vnni" in Path("/proc/cpuinfo").read_text()
"""Without it the engine's int8 products saturate: decision 0006."""
TEXTS = [[number, *range(number + 1, number + 6)] for number in range(20)]


class Fake:
    """Answers as vLLM does, each token the likeliest, and misbehaves on wish."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.now = self.most = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization"))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(30 if self.fault == "silent" else 0.005)
        finally:
            self.now -= 1
        if self.fault == "too many":
            said = "Requested prompt logprobs of 2, which is greater than max allowed: 1"
            return web.json_response({"error": {"message": said}}, status=400)
        if self.fault == "broken":
            return web.json_response({"error": "out of memory"}, status=500)
        positions = [
            {str(token): {"logprob": -0.5, "rank": 1}, "0": {"logprob": -1.5, "rank": 2}}
            for token in body["prompt"][1:]
        ]
        choice = {} if self.fault == "other API" else {"prompt_logprobs": [None, *positions]}
        return web.json_response({"choices": [{"text": "x", **choice}]})


@contextmanager
def fake(server: Fake) -> Iterator[Endpoint]:
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    where: list[int] = []

    async def serve() -> None:
        application = web.Application()
        application.router.add_post("/v1/completions", server.answer)
        runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.2
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        where.append(int(runner.addresses[0][1]))
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(5)
    try:
        yield Endpoint(
            base_url=f"http://127.0.0.1:{where[0]}", model="fake", vocab=VOCAB, api_key="secret"
        )
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def test_documents_come_back_in_their_order_and_few_are_sent_at_once() -> None:
    server = Fake()
    with fake(server) as endpoint:
        found = DIVERGENCE.measure(endpoint, TEXTS, top_k=2)
    assert [one.tokens.tolist() for one in found] == TEXTS
    assert [one.top_ids[:, 0].tolist() for one in found] == [ids[1:] for ids in TEXTS]
    assert 1 < server.most <= CONCURRENCY
    assert set(server.keys) == {"Bearer secret"}
    asked = server.bodies[0]
    assert (asked["prompt_logprobs"], asked["max_tokens"]) == (2, 1)


@pytest.mark.parametrize(
    ("fault", "error", "word"),
    [
        ("too many", BadInput, "top_k is 2, and .*--max-logprobs=2"),
        ("broken", EngineError, "document .* HTTP 500: .*out of memory"),
        ("other API", EngineError, "as vLLM does: no prompt_logprobs"),
        ("silent", EngineError, "gave no answer to document .* of 6 tokens"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_error(
    fault: str, error: type[Exception], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "TIMEOUT_S", 0.5)
    with fake(Fake(fault)) as endpoint, pytest.raises(error, match=word):
        DIVERGENCE.measure(endpoint, TEXTS, top_k=2)


def test_nobody_listens() -> None:
    nobody = Endpoint(base_url="http://127.0.0.1:9", model="m", vocab=VOCAB)
    with pytest.raises(EngineError, match=r"document .* connection refused"):
        DIVERGENCE.measure(nobody, TEXTS, top_k=2)


# ---- the real engine


@pytest.fixture(scope="module")
def model() -> Path:
    return tiny_llama(ROOT / ".cache" / "models" / "tiny-llama")


def damaged(model: Path, out: Path) -> Path:
    """A copy whose second layer's MLP has its weights in another order."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(model, out)
    tensors, draw = load_file(out / "model.safetensors"), np.random.default_rng(0)
    for name in tensors:
        if name.startswith("model.layers.1.mlp."):
            tensors[name] = draw.permutation(tensors[name].ravel()).reshape(tensors[name].shape)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


# the libraries warn about themselves; none of it is ours
@pytest.mark.filterwarnings("default")
def test_damage_shows_in_its_order(model: Path, tmp_path: Path, groups: list[ProcessGroup]) -> None:
    texts = DIVERGENCE.tokenize(model, DIVERGENCE.texts()[:24], max_tokens=CONTEXT - 1)
    assert (len(texts.documents), texts.left_out) == (24, 0)
    assert all(len(ids) <= CONTEXT - 1 for ids in texts.documents)
    assert texts.cut > 0  # so that whole contexts are read, too
    ids: Sequence[Sequence[int]] = texts.documents
    quantized, broken = tmp_path / "quantized", damaged(model, tmp_path / "broken")
    RECIPES.load("int_w8a8_rtn").compress(model, quantized, (), max_tokens=32, seed=0)

    def read(folder: Path, times: int = 1) -> list[tuple[DocumentLogprobs, ...]]:
        work = tmp_path / f"read-{folder.name}"
        work.mkdir()
        with ENGINE.serve(
            folder,
            SERVING,
            "cpu",
            vocab=VOCAB,
            log=work / "engine.log",
            start_timeout_s=240.0,
            on_start=groups.append,
        ) as server:
            with pytest.raises(BadInput, match="--max-logprobs=21"):  # vLLM's own limit is 20
                DIVERGENCE.measure(server.endpoint, ids[:1], top_k=21)
            return [DIVERGENCE.measure(server.endpoint, ids, top_k=TOP_K) for _ in range(times)]

    baseline, again = read(model, times=2)
    (small,), (large,) = read(quantized), read(broken)
    one, other = (
        diverge(baseline, candidate, top_k=TOP_K, seed=0, baseline_again=again)
        for candidate in (small, large)
    )
    print(f"\n{one}\n{other}")
    assert one.noise_kl is not None
    assert one.noise_top1_agreement is not None
    assert one.noise_kl < 1e-4
    assert one.noise_top1_agreement > 0.99
    assert one.kl.low > one.noise_kl  # 8 bits are seen, above what the engine does by itself
    assert one.top1_agreement.value > (0.9 if VNNI else 0.4)
    assert one.perplexity_ratio.value == pytest.approx(1.0, abs=0.02)
    assert other.kl.low > (10 if VNNI else 1.5) * one.kl.high
    assert other.top1_agreement.high < one.top1_agreement.low
    assert (one.documents, one.text_digest) == (24, other.text_digest)
