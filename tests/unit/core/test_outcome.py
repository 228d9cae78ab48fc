from __future__ import annotations

from typing import Any

import pytest

from optikit.core.outcome import after_evaluate, final, shipped_trial
from optikit.spec.plan import Plan
from optikit.spec.quality import QualityVerdict
from optikit.spec.record import BenchmarkRecord, EvaluateRecord, Trial, TuneRecord
from tests.specs import small_plan


def plan(**spec: Any) -> Plan:
    return small_plan(**{"flow": "quantize_and_tune", **spec})


def gate(verdict: str, chosen: str | None) -> EvaluateRecord:
    one = QualityVerdict.parse(
        {"candidate_id": "c0", "verdict": verdict, "margin": 0.01, "reason": "why", "tasks": ()}
    )
    return EvaluateRecord(inputs_digest="d", verdicts=(one,), chosen=chosen)


def trial(name: str, outcome: str, variant: str = "compressed") -> Trial:
    return Trial.parse(
        {
            "id": name,
            "number": 0,
            "purpose": "tune",
            "variant": variant,
            "state": "complete",
            "model_digest": "d",
            "serving": {"max_model_len": 64},
            "rate": {
                "outcome": outcome,
                "rate_rps": 2.0 if outcome == "pass" else None,
                "preliminary": True,
                "reason": "because",
                "method": "doubling",
                "requests": 60,
            },
        }
    )


def test_the_gate() -> None:
    assert after_evaluate(plan(), gate("kept", "c0")) is None
    assert after_evaluate(plan(), gate("cannot tell", "c0")) is None
    lost = after_evaluate(plan(), gate("lost", None))
    assert lost is not None
    assert (lost.state, lost.verdict, lost.exit_code) == ("negative", "lost", 3)
    assert after_evaluate(plan(fallback="baseline"), gate("lost", None)) is None
    stop = after_evaluate(plan(quality={"on_cannot_tell": "stop"}), gate("cannot tell", "c0"))
    assert stop is not None
    assert stop.exit_code == 4


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("infeasible", 3), ("inconclusive", 4)])
def test_the_shipped_trial_decides(outcome: str, code: int) -> None:
    tune = TuneRecord(inputs_digest="d", trials=(trial("t0", outcome),), winner="t0")
    answer = final(plan(), gate("kept", "c0"), None, tune)
    assert (answer.verdict, answer.exit_code) == (outcome, code)


def test_cannot_tell_and_a_fallback_are_said() -> None:
    tune = TuneRecord(inputs_digest="d", trials=(trial("t0", "pass"),), winner="t0")
    assert "cannot tell" in final(plan(), gate("cannot tell", "c0"), None, tune).message
    fell = final(plan(fallback="baseline"), gate("lost", None), None, tune).message
    assert "uncompressed model ships" in fell


def test_without_a_winner_the_default_of_the_shipped_variant_speaks() -> None:
    benchmark = BenchmarkRecord(
        inputs_digest="d",
        trials=(trial("b0", "pass", "baseline"), trial("b1", "infeasible", "compressed")),
    )
    tune = TuneRecord(inputs_digest="d", trials=(), winner=None)
    found = shipped_trial(benchmark, tune, "compressed")
    assert found is not None
    assert found.id == "b1"
    assert final(plan(), gate("kept", "c0"), benchmark, tune).exit_code == 3


def test_a_flow_without_load_ends_with_its_quality() -> None:
    answer = final(plan(flow="quantize"), gate("kept", "c0"), None, None)
    assert (answer.state, answer.verdict, answer.exit_code) == ("done", "kept", 0)


def test_a_lost_quality_is_never_done_well() -> None:
    # nothing could ship in this flow, whatever the fallback says
    only_judged = after_evaluate(plan(flow="evaluate", fallback="baseline"), gate("lost", None))
    assert only_judged is not None
    assert only_judged.exit_code == 3
    shipped = final(plan(flow="quantize", fallback="baseline"), gate("lost", None), None, None)
    assert (shipped.state, shipped.verdict) == ("done", "lost")


def test_an_open_question_outranks_a_no() -> None:
    tune = TuneRecord(
        inputs_digest="d",
        trials=(trial("t0", "infeasible"), trial("t1", "inconclusive")),
        winner=None,
    )
    assert final(plan(), gate("kept", "c0"), None, tune).exit_code == 4


def test_a_simulated_jobs_message_says_so_and_no_gate_stops_it() -> None:
    simulated = plan(quality={"on_cannot_tell": "stop"}).model_copy(update={"simulated": True})
    assert after_evaluate(simulated, gate("cannot tell", "c0")) is None
    tune = TuneRecord(inputs_digest="d", trials=(trial("t0", "pass"),), winner="t0")
    found = final(simulated, gate("cannot tell", "c0"), None, tune)
    assert (found.state, found.verdict) == ("done", "pass")
    assert found.message.startswith("SIMULATED: ")
    assert "are sustained, without an SLO" in found.message


def test_a_model_that_nobody_could_serve_was_not_lost_in_quality() -> None:
    for word, told in (("unsupported", "made and served"), ("lost", "kept the quality within")):
        ended = after_evaluate(plan(), gate(word, None))
        assert ended is not None
        assert ended.exit_code == 3
        assert told in ended.message
        shipped = final(plan(flow="quantize", fallback="baseline"), gate(word, None), None, None)
        assert told in shipped.message
