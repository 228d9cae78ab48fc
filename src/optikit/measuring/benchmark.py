"""The certified rate of a server that is already running: no GPU, no job spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from optikit import __version__
from optikit.adapters.hardware import hardware
from optikit.core.certify import certify_endpoint, probe_line
from optikit.core.elsewhere import UNKNOWN_VOCAB
from optikit.core.rate import rate_search
from optikit.engines._endpoint import (
    ServerFacts,
    checker,
    key_of,
    key_warnings,
    look_at,
    must_fit,
    what_it_says,
)
from optikit.journal import raw_digest, write_json, write_whole
from optikit.loadgen import GENERATORS
from optikit.measuring.archive import MeasurementArchive
from optikit.measuring.search import Ended, OnProbe, draw, now, recorded_end, search_kept
from optikit.spec.base import Spec
from optikit.spec.endpoint import Endpoint
from optikit.spec.job import MethodChoice
from optikit.spec.record import Certificate
from optikit.spec.slo import Slo
from optikit.spec.workload import Trace, Workload
from optikit.stores.traces import read_trace

__all__ = ["EndpointAsk", "Measured", "benchmark_endpoint"]

GENERATOR = "openai"
DEFAULT_VOCAB = UNKNOWN_VOCAB
_EXIT = {"pass": 0, "infeasible": 3, "inconclusive": 4}
INTERRUPTED = 130


class EndpointAsk(Spec):
    """What to measure. The key itself is not here, only the name of the variable that holds it."""

    endpoint: str
    """Base URL, with or without ``/v1``."""
    model: str | None = None
    """As the server knows it; None: the only one it has."""
    workload: Workload = Workload()
    slo: Slo = Slo()
    method: MethodChoice = MethodChoice()
    api: Literal["completions", "chat"] = "completions"
    prompts: Literal["tokens", "text"] | None = None
    """None: token ids, text for chat."""
    vocab: int | None = Field(default=None, ge=1)
    enforce_length: bool = True
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Seats of the server, where they are known."""
    api_key_env: str | None = None
    api_key_file: str | None = None

    def sends(self, model: str, api_key: str | None) -> Endpoint:
        """The endpoint with this model and key.

        Raises:
            SpecError: an address that is none, or token ids for the chat API.
        """
        prompts = self.prompts or ("text" if self.api == "chat" else "tokens")
        vocab = (self.vocab or DEFAULT_VOCAB) if prompts == "tokens" else 0
        return Endpoint.parse(
            {
                "base_url": self.endpoint,
                "model": model,
                "vocab": vocab,
                "api_key": api_key,
                "api": self.api,
                "prompts": prompts,
                "enforce_length": self.enforce_length,
            }
        )


@dataclass(frozen=True)
class Measured:
    """What a benchmark of an endpoint found, and where it is kept."""

    archive: MeasurementArchive
    server: ServerFacts
    ended: Ended
    certificate: Certificate
    warnings: tuple[str, ...]
    plots: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 a rate holds, 3 infeasible, 4 inconclusive, 130 interrupted."""
        return INTERRUPTED if self.ended.interrupted else _EXIT[self.ended.rate.outcome]

    def facts(self) -> dict[str, Any]:
        """What ``--json`` prints; docs/reference/benchmark.md has the keys."""
        rate, certificate = self.ended.rate, self.certificate
        return {
            "id": self.archive.measurement_id,
            "verdict": rate.outcome,
            "status": certificate.status,
            "rate_rps": certificate.rate_rps,
            "rate_interval_rps": [rate.rate_low_rps, rate.rate_high_rps],
            "estimate_rps": rate.estimate_rps,
            "saturation_rps": rate.saturation_rps,
            "preliminary": rate.preliminary,
            "requests": rate.requests,
            "requests_at_rate": rate.requests_at_rate,
            "method": rate.method,
            "reason": rate.reason,
            "interrupted": self.ended.interrupted,
            "endpoint": certificate.endpoint,
            "model": certificate.model_name,
            "engine": self.server.name,
            "probes": [probe_line(probe).model_dump(mode="json") for probe in rate.probes],
            "certificate": str(self.archive.certificate),
            "archive": str(self.archive.root),
            "plots": list(self.plots),
            "warnings": list(self.warnings),
        }


def benchmark_endpoint(
    ask: EndpointAsk,
    home: Path,
    on_probe: OnProbe = lambda probe: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Look at the server, search its rate, archive all of it, certify what was found.

    An interruption (Ctrl-C) and a server that dies end it as inconclusive.

    Args:
        home: OptiKIT's home folder.
        on_note: called with each warning as soon as it is known.

    Raises:
        BadInput: the server, the key, the model or the workload cannot be used, and why; nothing
            was sent but questions.
    """
    trace = read_trace(Path(ask.workload.trace)) if ask.workload.trace else None
    key = key_of(ask.api_key_env, ask.api_key_file)
    url = ask.sends(ask.model or "unknown", key).base_url
    # a wrong method or SLO is said before the server is asked anything
    rate_search(ask.method, ask.workload, ask.slo, trace=trace)
    facts = look_at(url, ask.model, key)
    must_fit(ask.workload.with_lengths_of(trace) if trace else ask.workload, facts)
    endpoint = ask.sends(facts.model, key)
    warnings = [*key_warnings(endpoint), *_vocab_warnings(ask, endpoint)]
    for text in warnings:
        on_note(text)
    archive = MeasurementArchive.create(
        home,
        "benchmark",
        {**ask.model_dump(mode="json"), "endpoint": url, "model": facts.model},
    )
    says = what_it_says(url, facts, key)
    archive.event("server", model=facts.model, says=says)
    with recorded_end(archive):
        ended = _measure(archive, ask, endpoint, trace, on_probe)
        return _certified(archive, ask, endpoint, facts, says, ended, trace, tuple(warnings))


def _vocab_warnings(ask: EndpointAsk, endpoint: Endpoint) -> list[str]:
    if endpoint.prompts == "text" or ask.vocab is not None:
        return []
    return [
        f"the size of the vocabulary is not known: prompts are token ids below {DEFAULT_VOCAB}; "
        "--vocab says better, --prompts text sends words"
    ]


def _measure(
    archive: MeasurementArchive,
    ask: EndpointAsk,
    endpoint: Endpoint,
    trace: Trace | None,
    on_probe: OnProbe,
) -> Ended:
    search = rate_search(
        ask.method, ask.workload, ask.slo, max_num_seqs=ask.max_num_seqs, trace=trace
    )
    return search_kept(
        archive,
        search,
        GENERATORS.load(GENERATOR),
        endpoint,
        ask.workload,
        ask.slo,
        ask.method,
        trace=trace,
        check=checker(endpoint),
        on_probe=on_probe,
    )


def _certified(
    archive: MeasurementArchive,
    ask: EndpointAsk,
    endpoint: Endpoint,
    facts: ServerFacts,
    says: dict[str, str],
    ended: Ended,
    trace: Trace | None,
    warnings: tuple[str, ...],
) -> Measured:
    certificate = certify_endpoint(
        ended.rate,
        endpoint,
        ask.workload,
        ask.slo,
        ask.method,
        measurement_id=archive.measurement_id,
        created=now(),
        optikit_version=__version__,
        engine=facts.engine,
        engine_version=facts.version,
        client=hardware(),
        archive_digest=raw_digest(archive.root, [probe.raw for probe in ended.rate.probes]),
        trace=trace,
        says=says,
    )
    write_whole(archive.certificate, certificate.model_dump_json(indent=2) + "\n")
    plots = draw(archive, ask.slo, ended.rate)
    measured = Measured(archive, facts, ended, certificate, warnings, tuple(plots))
    write_json(archive.root / "result.json", measured.facts())
    state = "interrupted" if ended.interrupted else ended.rate.outcome
    archive.event("ended", state=state, rate_rps=certificate.rate_rps, reason=ended.rate.reason)
    return measured
