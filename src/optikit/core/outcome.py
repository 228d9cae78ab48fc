"""How a job ended, from its records: the state, the verdict and the exit code."""

from __future__ import annotations

from typing import Literal

from optikit.spec.base import Spec
from optikit.spec.plan import Plan
from optikit.spec.record import BenchmarkRecord, EvaluateRecord, Trial, TuneRecord, Variant
from optikit.spec.simulated import marked

__all__ = ["Outcome", "after_evaluate", "final", "shipped_trial"]

State = Literal["done", "negative", "inconclusive"]
EXIT: dict[State, int] = {"done": 0, "negative": 3, "inconclusive": 4}


class Outcome(Spec):
    """The job's answer."""

    state: State
    verdict: Literal[
        "pass", "infeasible", "inconclusive", "kept", "lost", "unsupported", "cannot tell", "done"
    ]
    message: str

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT[self.state]


def after_evaluate(plan: Plan, record: EvaluateRecord) -> Outcome | None:
    """Whether the quality gate ends the job here; None: it goes on."""
    gate = plan.job.quality
    reasons = "; ".join(f"{v.candidate_id}: {v.reason}" for v in record.verdicts)
    ends_here = "publish" not in plan.flow.stages  # nothing that a fallback could ship
    if record.chosen is None and (ends_here or plan.job.fallback == "none"):
        return Outcome(
            state="negative",
            verdict=_word(record),
            message=f"{_nobody(record, gate.margin)} ({reasons})."
            + (
                "" if ends_here else " Set fallback: baseline to go on with the uncompressed model."
            ),
        )
    chosen = next((v for v in record.verdicts if v.candidate_id == record.chosen), None)
    stops = gate.on_cannot_tell == "stop" and not plan.simulated  # no items could ever tell
    if chosen and chosen.verdict == "cannot tell" and stops:
        return Outcome(
            state="inconclusive",
            verdict="cannot tell",
            message=f"{chosen.reason} (quality.on_cannot_tell is stop)",
        )
    return None


def _word(record: EvaluateRecord) -> Literal["lost", "unsupported"]:
    """The verdict on candidates of which none goes on."""
    unserved = record.verdicts and all(
        v.verdict in ("unsupported", "failed") for v in record.verdicts
    )
    return "unsupported" if unserved else "lost"


def _nobody(record: EvaluateRecord, margin: float) -> str:
    """Why no candidate goes on, in a few words."""
    if _word(record) == "unsupported":
        return "no candidate could be made and served"
    return f"no candidate kept the quality within {margin:.2%}"


def shipped_trial(
    benchmark: BenchmarkRecord | None, tune: TuneRecord | None, variant: Variant
) -> Trial | None:
    """The trial whose serving config ships: tuning's winner, else the default configuration's."""
    measured = (benchmark.trials if benchmark else ()) + (tune.trials if tune else ())
    if tune is not None and tune.winner is not None:
        return next((t for t in measured if t.id == tune.winner), None)
    # nothing held the SLO: the default speaks, but an open question outranks a no
    ours = [t for t in measured if t.variant == variant]
    ranked = sorted(ours, key=lambda t: (t.rate is None, _settled(t)))
    return ranked[0] if ranked else None


def _settled(trial: Trial) -> bool:
    return trial.rate is not None and trial.rate.outcome == "infeasible"


def final(
    plan: Plan,
    evaluate: EvaluateRecord | None,
    benchmark: BenchmarkRecord | None,
    tune: TuneRecord | None,
) -> Outcome:
    """The job's answer after its last stage; a simulated job's message says so first."""
    found = _final(plan, evaluate, benchmark, tune)
    return found.model_copy(update={"message": marked(found.message, plan.simulated)})


def _final(
    plan: Plan,
    evaluate: EvaluateRecord | None,
    benchmark: BenchmarkRecord | None,
    tune: TuneRecord | None,
) -> Outcome:
    fell_back = evaluate is not None and evaluate.chosen is None
    variant: Variant = "compressed" if plan.flow.compresses and not fell_back else "baseline"
    note = ""
    if evaluate is not None and fell_back:
        lost = "; ".join(f"{v.candidate_id}: {v.reason}" for v in evaluate.verdicts)
        nobody = _nobody(evaluate, plan.job.quality.margin)
        note = f" The uncompressed model ships: {nobody} ({lost})."
    chosen = next(
        (v for v in evaluate.verdicts if v.candidate_id == evaluate.chosen)
        if evaluate
        else iter(()),
        None,
    )
    if chosen and chosen.verdict == "cannot tell":
        note += f" Quality: cannot tell ({chosen.reason})."
    if not plan.flow.measures:
        if fell_back:
            word = _word(evaluate) if evaluate else "lost"
            return Outcome(state="done", verdict=word, message=note.strip())
        verdict = "cannot tell" if chosen and chosen.verdict == "cannot tell" else "kept"
        return Outcome(
            state="done",
            verdict=verdict if chosen else "done",
            message=chosen.reason if chosen else "done.",
        )
    trial = shipped_trial(benchmark, tune, variant)
    if trial is None or trial.rate is None:
        why = trial.error if trial else "nothing was measured"
        return Outcome(state="negative", verdict="infeasible", message=f"no rate: {why}.{note}")
    rate = trial.rate
    if rate.outcome == "pass":
        label = "preliminary: " if rate.preliminary else ""
        holds = f"hold {plan.job.slo}" if plan.job.slo.bounds else "are sustained, without an SLO"
        return Outcome(
            state="done",
            verdict="pass",
            message=f"{label}{rate.rate_rps:.3g} requests/s {holds} "
            f"({rate.requests_at_rate} requests seen at that rate).{note}",
        )
    negative = rate.outcome == "infeasible"
    return Outcome(
        state="negative" if negative else "inconclusive",
        verdict=rate.outcome,
        message=f"{plan.job.slo}: {rate.reason}.{note}",
    )
