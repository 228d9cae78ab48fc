"""Repeats a certification with new seeds: does the certified rate still hold?"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from optikit import __version__
from optikit.adapters.hardware import hardware
from optikit.core.certify import probe_line
from optikit.core.compare import differences, last_certify, side_by_side
from optikit.core.rate import verification
from optikit.core.steptimes import on_paper
from optikit.engines import ENGINES
from optikit.engines._endpoint import checker, key_of, key_warnings, look_at, must_fit
from optikit.errors import BadInput
from optikit.journal import raw_digest, write_json
from optikit.loadgen import GENERATORS
from optikit.loadgen.base import LoadGenerator
from optikit.measuring.archive import MeasurementArchive
from optikit.measuring.certificates import read_certificate
from optikit.measuring.search import Ended, OnProbe, draw, recorded_end, search_kept
from optikit.spec.base import Spec
from optikit.spec.endpoint import Endpoint
from optikit.spec.record import Certificate, SentAs
from optikit.spec.simulated import MODEL_FILE, marked
from optikit.spec.sku import ResourceSKU
from optikit.spec.workload import Trace
from optikit.stores.contents import model_digest
from optikit.stores.inside import must_allow_code
from optikit.stores.traces import read_trace

__all__ = ["Verified", "VerifyAsk", "verify"]

GENERATOR = "openai"
INTERRUPTED = 130
_VERDICTS: dict[str, Literal["holds", "broken", "inconclusive"]] = {
    "pass": "holds",
    "infeasible": "broken",
    "inconclusive": "inconclusive",
}
_EXIT = {"holds": 0, "broken": 3, "inconclusive": 4}


class VerifyAsk(Spec):
    """What to verify, and on what."""

    certificate: str
    """The file; its bundle lies around it."""
    endpoint: str | None = None
    """A server that runs already; None: the one that was certified (``source: endpoint``), else
    the bundle is served."""
    model: str | None = None
    """The endpoint's name of the model; None: the certificate's, or the only one there is."""
    api_key_env: str | None = None
    api_key_file: str | None = None
    max_search_s: float | None = Field(default=None, gt=0)
    """None: the certificate's."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    """For the bundle's server."""


@dataclass(frozen=True)
class Verified:
    """What was found again, beside what was certified."""

    archive: MeasurementArchive
    certificate: Certificate
    ended: Ended
    seed: int
    simulated: bool
    """No server was measured now; of a running one that is never so."""
    served: str
    """What was measured: the bundle's folder or an address."""
    warnings: tuple[str, ...]
    plots: tuple[str, ...]

    @property
    def verdict(self) -> Literal["holds", "broken", "inconclusive"]:
        """The answer."""
        return _VERDICTS[self.ended.rate.outcome]

    @property
    def exit_code(self) -> int:
        """0 holds, 3 broken, 4 inconclusive, 130 interrupted."""
        return INTERRUPTED if self.ended.interrupted else _EXIT[self.verdict]

    def facts(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        certificate, rate = self.certificate, self.ended.rate
        again = last_certify(rate.probes)
        then, now = certificate.measurement, again.measurement if again else None
        return {
            "id": self.archive.measurement_id,
            "verdict": self.verdict,
            "reason": rate.reason,
            "simulated": self.simulated,
            "interrupted": self.ended.interrupted,
            "rate_rps": certificate.rate_rps,
            "rate_interval_rps": [certificate.rate_low_rps, certificate.rate_high_rps],
            "achieved_rps": {
                "then": then.achieved_rps if then else None,
                "now": now.achieved_rps if now else None,
            },
            "bounds": side_by_side(certificate.slo, then, now),
            "requests": rate.requests,
            "seed": self.seed,
            "measured": self.served,
            "probes": [probe_line(probe).model_dump(mode="json") for probe in rate.probes],
            "archive": str(self.archive.root),
            "plots": list(self.plots),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Target:
    """A server that is ready to be measured."""

    endpoint: Endpoint
    generator: LoadGenerator
    check: Callable[[], None]
    served: str
    warnings: list[str]


def verify(
    ask: VerifyAsk,
    home: Path,
    on_probe: OnProbe = lambda probe: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Verified:
    """Certify the certified rate again, with seeds that nobody has used.

    Args:
        home: OptiKIT's home folder, where raw probes and result are kept.
        on_note: called with the seed, and with each difference to what was certified.

    Raises:
        BadInput: the certificate, its bundle or the endpoint cannot be used, and why.
        EngineError: the bundle's server did not start.
    """
    certificate = read_certificate(Path(ask.certificate))
    if certificate.rate_rps is None:
        raise BadInput(
            f"{ask.certificate} claims no rate ({certificate.status}: {certificate.reason}); "
            "there is nothing to verify"
        )
    trace = _trace(certificate)
    address = ask.endpoint or certificate.endpoint
    if address is None:
        _same_model(Path(ask.certificate).parent, certificate)
    seed = secrets.randbits(31)
    archive = MeasurementArchive.create(
        home, "verify", {**ask.model_dump(mode="json"), "seed": seed}
    )
    on_note(f"seed {seed}: new requests, none of the certificate's")
    with recorded_end(archive):
        opened = (
            _running(ask, certificate, address, trace)
            if address
            else _bundle(ask, certificate, archive)
        )
        with opened as target:
            warnings = (*_versions(certificate), *target.warnings)
            for text in warnings:
                on_note(f"warning: {text}")
            ended = _measure(archive, certificate, ask, target, seed, trace, on_probe)
        simulated = certificate.simulated and address is None
        plots = draw(archive, certificate.slo, ended.rate, simulated)
        found = Verified(
            archive, certificate, ended, seed, simulated, target.served, warnings, tuple(plots)
        )
        write_json(archive.root / "result.json", found.facts())
        archive.event("ended", state=found.verdict, reason=ended.rate.reason)
    return found


def _measure(
    archive: MeasurementArchive,
    certificate: Certificate,
    ask: VerifyAsk,
    target: _Target,
    seed: int,
    trace: Trace | None,
    on_probe: OnProbe,
) -> Ended:
    # as many requests as the evidence needs, however few the certificate was made with
    method = certificate.method.model_copy(update={"requests_per_probe": None})
    if ask.max_search_s is not None:
        method = method.model_copy(update={"max_search_s": ask.max_search_s})
    rate_rps = certificate.rate_rps
    if rate_rps is None:
        raise AssertionError("unreachable: a certificate without a rate was refused")
    serving = certificate.serving
    search = verification(
        method,
        certificate.workload,
        certificate.slo,
        rate_rps,
        seed=seed,
        max_num_seqs=serving.max_num_seqs if serving else None,
        trace=trace,
    )
    return search_kept(
        archive,
        search,
        target.generator,
        target.endpoint,
        certificate.workload,
        certificate.slo,
        method,
        trace=trace,
        check=target.check,
        on_probe=on_probe,
    )


def _trace(certificate: Certificate) -> Trace | None:
    """The recorded requests that the workload names, which must be those that were certified."""
    if certificate.workload.trace is None:
        return None
    trace = read_trace(Path(certificate.workload.trace))
    if trace.digest != certificate.trace_digest:
        raise BadInput(
            f"{trace.source} holds other requests ({trace.digest[:19]}...) than were certified "
            f"({(certificate.trace_digest or 'none')[:19]}...); bring the original"
        )
    return trace


@contextmanager
def _running(
    ask: VerifyAsk, certificate: Certificate, address: str, trace: Trace | None
) -> Iterator[_Target]:
    """A server that somebody else runs."""
    key = key_of(ask.api_key_env, ask.api_key_file)
    sent = certificate.sent_as or SentAs(api="chat", prompts="text")

    def endpoint(model: str) -> Endpoint:
        return Endpoint.parse(
            {"base_url": address, "model": model, "api_key": key, **sent.model_dump()}
        )

    own = certificate.model_name if certificate.source == "endpoint" else None
    url = endpoint("unknown").base_url
    facts = look_at(url, ask.model or own, key)
    workload = certificate.workload
    must_fit(workload.with_lengths_of(trace) if trace else workload, facts)
    found = endpoint(facts.model)
    was, now = f"{certificate.engine} {certificate.engine_version}", facts.name
    warnings = [*key_warnings(found), *differences("engine", {"": was}, {"": now})]
    if certificate.simulated:
        warnings.append(marked("the certificate's figures are a model's, these are measured", True))
    if url != certificate.endpoint:
        was = certificate.endpoint or "the bundle, served by OptiKIT"
        warnings.append(f"the certificate is of {was}, this is {url}")
    if certificate.source == "endpoint":
        warnings += differences("client", certificate.client, hardware())
    else:
        warnings.append("the endpoint's hardware is not known; its owner can state it")
    yield _Target(found, GENERATORS.load(GENERATOR), checker(found), url, warnings)


@contextmanager
def _bundle(
    ask: VerifyAsk, certificate: Certificate, archive: MeasurementArchive
) -> Iterator[_Target]:
    """The bundle around the certificate, served as it was certified."""
    bundle = Path(ask.certificate).absolute().parent
    serving = certificate.serving
    if serving is None or certificate.sku is None:
        raise BadInput(
            f"{ask.certificate} does not say how its server was started; name a running one with "
            "--endpoint"
        )
    engine = ENGINES.load(certificate.engine)
    warnings = differences(
        "engine", {"version": certificate.engine_version}, {"version": engine.version()}
    )
    sku = ResourceSKU[certificate.sku].facts
    here = on_paper(sku, serving) if certificate.simulated else hardware()
    warnings += differences("hardware", certificate.hardware, here)
    if certificate.simulated:
        warnings.insert(0, marked("no server is started, a model of one is asked again", True))
    sent = certificate.sent_as or SentAs()
    generator = GENERATORS.load("simulated" if certificate.simulated else GENERATOR)
    with engine.serve(
        bundle / "model",
        serving,
        sku.kind,
        vocab=sent.vocab,
        log=archive.root / "engine.log",
        start_timeout_s=ask.start_timeout_s,
        what=f"{certificate.engine} server of verification {archive.measurement_id}",
        on_start=lambda group: archive.event("process_group", group=group.model_dump(mode="json")),
    ) as server:
        yield _Target(server.endpoint, generator, server.check, str(bundle), warnings)


def _same_model(bundle: Path, certificate: Certificate) -> None:
    """Raise unless the bundle holds the model that was certified.

    Raises:
        BadInput: no model folder, or one with another content.
        UnsafeInput: it was certified with code of its own, which nobody allowed here.
    """
    if certificate.model_digest is None:
        return
    folder = bundle / (MODEL_FILE if certificate.simulated else "model")
    if not folder.exists():
        raise BadInput(
            f"no {folder.name} beside the certificate ({folder}); keep the bundle together, or "
            "name a running server with --endpoint"
        )
    simulated = raw_digest(bundle, [folder.name]) if certificate.simulated else None
    brings = certificate.serving is not None and certificate.serving.trust_remote_code
    if brings and not certificate.simulated:
        must_allow_code(None, f"the certificate of {certificate.model_name}")
    found = simulated or model_digest(folder, code=brings)
    if found != certificate.model_digest:
        raise BadInput(
            f"{folder} is not the model that was certified: its digest is {found[:19]}..., the "
            f"certificate's {certificate.model_digest[:19]}...; get the original bundle"
        )


def _versions(certificate: Certificate) -> list[str]:
    return differences("OptiKIT", {"": certificate.optikit_version}, {"": __version__})
