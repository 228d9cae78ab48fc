"""The talk's table: baseline, quantization only, tuning only, both."""

from __future__ import annotations

from collections.abc import Sequence

from optikit.core.finalists import gain, mean_rate, shipped_run, winner
from optikit.core.fitness import best
from optikit.spec.base import Spec
from optikit.spec.record import Contender, Trial, Variant

__all__ = ["CORNERS", "Corner", "four_corners"]

CORNERS = ("baseline", "quantized", "tuned", "both")
_PLACES: tuple[tuple[str, Variant, bool], ...] = (
    ("baseline", "baseline", False),
    ("quantized", "compressed", False),
    ("tuned", "baseline", True),
    ("both", "compressed", True),
)


class Corner(Spec):
    """One corner; figures are null, with a reason, where there are none."""

    rate_rps: float | None = None
    """Highest rate in requests per second that held the SLO."""
    rate_per_gpu: float | None = None
    """The rate over the devices used; a CPU SKU counts as one device."""
    slo_met: bool | None = None
    """None: not measured, or nothing can be said; see ``reason``."""
    gain: float | None = None
    """rate_per_gpu over the baseline's."""
    gain_low: float | None = None
    """95 % interval of the gain; None where it was not measured again, interleaved."""
    gain_high: float | None = None
    reason: str | None = None
    trial: str | None = None
    preliminary: bool = False


def four_corners(
    benchmark: Sequence[Trial],
    tune: Sequence[Trial],
    compresses: bool,
    last: Sequence[Contender] = (),
) -> dict[str, Corner]:
    """The corners, by name, from the trials of the benchmark and the tune stage.

    A tuned corner is the best of the default configuration and all tuning trials of its variant,
    so tuning that found nothing better shows a gain of 1 over not tuning. Where configurations were
    measured again at the end, those figures count, and the gains have intervals.

    Args:
        last: contenders of the last comparison.
    """

    def pick(variant: Variant, tuned: bool) -> Corner:
        default = [t for t in benchmark if t.variant == variant]
        tried = [t for t in tune if t.variant == variant]
        if (tuned and not tried) or (not tuned and not default):
            return Corner(reason="not measured: flow_params.ablation is off or the flow lacks it")
        trials = default + tried if tuned else default
        winner = best(trials)
        if winner is not None and winner.rate_rps is not None:
            return Corner(
                rate_rps=winner.rate_rps,
                rate_per_gpu=winner.rate_rps / winner.serving.devices,
                slo_met=True,
                trial=winner.id,
                preliminary=winner.rate is not None and winner.rate.preliminary,
            )
        ran = [trial for trial in trials if trial.rate is not None]
        if not ran:
            return Corner(trial=trials[0].id, reason=f"engine failed: {trials[0].error}")
        undecided = [t for t in ran if t.rate and t.rate.outcome == "inconclusive"]
        shown = (undecided or ran)[0]
        why = shown.rate.reason if shown.rate else ""
        if undecided:
            return Corner(trial=shown.id, reason=f"inconclusive: {why}")
        return Corner(slo_met=False, trial=shown.id, reason=f"SLO not met: {why}")

    found = {
        "baseline": pick("baseline", tuned=False),
        "quantized": pick("compressed", tuned=False)
        if compresses
        else Corner(reason="not measured: the flow does not compress"),
        "tuned": pick("baseline", tuned=True),
        "both": pick("compressed", tuned=True)
        if compresses
        else Corner(reason="not measured: the flow does not compress"),
    }
    chosen: dict[str, Contender | None] = {}
    for name, variant, tuned in _PLACES if last else ():
        mine = [c for c in last if c.variant == variant]
        chosen[name] = winner(mine) if tuned else next((c for c in mine if c.default), None)
        found[name] = _again(found[name], chosen[name], tune)
    base = found["baseline"].rate_per_gpu
    return {
        name: _with_interval(
            _with_gain(corner, base), last, chosen.get(name), chosen.get("baseline")
        )
        for name, corner in found.items()
    }


def _again(corner: Corner, contender: Contender | None, trials: Sequence[Trial]) -> Corner:
    """The corner by what was measured in the last comparison."""
    mean = mean_rate(contender) if contender else None
    if contender is None or mean is None:
        return corner
    run = shipped_run(contender, trials)
    if run is None:
        return corner
    return corner.model_copy(
        update={
            "rate_rps": mean * run.serving.devices,
            "rate_per_gpu": mean,
            "slo_met": True,
            "reason": None,
            "trial": run.id,
            "preliminary": run.rate is not None and run.rate.preliminary,
        }
    )


def _with_interval(
    corner: Corner,
    last: Sequence[Contender],
    mine: Contender | None,
    base: Contender | None,
) -> Corner:
    if mine is None or base is None or corner.gain is None:
        return corner
    found = gain(last, mine, base)
    if found is None:
        return corner
    return corner.model_copy(update={"gain_low": found.low, "gain_high": found.high})


def _with_gain(corner: Corner, base: float | None) -> Corner:
    if corner.rate_per_gpu is None:
        return corner
    if base is None:
        return corner.model_copy(update={"reason": "no gain: the baseline has no rate"})
    return corner.model_copy(update={"gain": corner.rate_per_gpu / base})
