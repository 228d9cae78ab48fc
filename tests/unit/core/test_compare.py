from __future__ import annotations

from typing import Any

from optikit.core.compare import differences, last_certify, side_by_side
from optikit.spec.record import Measurement, Probe
from optikit.spec.slo import Slo
from tests.doubles import certificate

SEEN = certificate().measurement


def probe(number: int, phase: str, verdict: str) -> Probe:
    facts: dict[str, Any] = {"number": number, "phase": phase, "verdict": verdict, "reason": ""}
    return Probe.parse({**facts, "measurement": SEEN})


def test_a_bound_has_its_percentile_on_both_sides() -> None:
    (row,) = side_by_side(Slo.parse(["p95(e2e) <= 500 ms"]), SEEN, None)
    assert row["then"] == {
        "value_ms": 410.0, "low_ms": 402.0, "high_ms": 419.0,
        "share": None, "share_low": None, "share_high": None,
    }  # fmt: skip
    assert row["now"] is None


def test_a_goodput_has_its_share() -> None:
    text = "goodput(e2e <= 500 ms) >= 90 %"
    evidence = {"bound": text, "allowed": 0.1, "counted": 100, "over": 4, "share": 0.04}
    evidence |= {"low": 0.01, "high": 0.1, "effective": 100.0}
    assert SEEN is not None
    seen = Measurement.parse({**SEEN.model_dump(), "bounds": [evidence]})
    (row,) = side_by_side(Slo.parse([text]), seen, seen)
    assert row["limit_ms"] is None
    assert (row["now"]["share"], row["now"]["value_ms"]) == (0.04, None)
    assert row["allowed"] == 0.1


def test_a_void_probe_speaks_only_where_no_other_does() -> None:
    void, failed = probe(3, "certify", "void"), probe(2, "certify", "fail")
    assert last_certify((probe(1, "open", "pass"), failed, void)) == failed
    assert last_certify((void,)) == void
    assert last_certify((probe(1, "open", "pass"),)) is None


def test_differences_name_what_is_missing() -> None:
    assert differences("engine", {"": "a"}, {"": "a"}) == []
    assert differences("hardware", {"gpu0": "x"}, {"cpu": "y"}) == [
        "hardware, gpu0: was 'x', is not stated",
        "hardware, cpu: was not stated, is 'y'",
    ]
