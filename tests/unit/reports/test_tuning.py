"""Figures of a tuning stage: what they show, and the files that are written."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest

from optikit.core.corners import Corner, four_corners
from optikit.core.finalists import contenders
from optikit.reports import _plot_draw as draw
from optikit.reports._tuning_draw import _LOOKS, _round_about, _shade, _wrapped
from optikit.reports.plots import TUNING_NAMES, write_tuning_plots
from optikit.reports.tuning import (
    KINDS,
    bars,
    best_so_far,
    flags,
    importance,
    searched,
    winner_of,
)
from optikit.spec.record import Contender, Trial, Variant
from optikit.spec.serving import Flag, ServingConfig
from optikit.spec.space import Dimension, ResolvedSpace
from tests.probes import found

DIMENSIONS = (
    Dimension(name="tensor_parallel", values=(1, 2, 4), log=True),
    Dimension(name="max_num_seqs", values=(16, 64, 256), log=True),
    Dimension(name="enable_prefix_caching", values=(False, True)),
    Dimension(
        name="threshold", values=(8, 32), extra=True, when=(("enable_prefix_caching", True),)
    ),
)
SPACE = ResolvedSpace(dimensions=DIMENSIONS, size=27)


def trial(
    name: str,
    rate: float | None,
    *,
    tp: int = 1,
    seqs: int = 64,
    threshold: Flag | None = None,
    hours: float = 1.0,
    variant: Variant = "baseline",
    **facts: object,
) -> Trial:
    """A trial that took so many device-hours; its prefix cache is on where a threshold is set."""
    state = facts.get("state", "complete")
    return Trial.model_validate(
        {
            "id": name,
            "number": 0,
            "purpose": "tune",
            "variant": variant,
            "state": state,
            "model_digest": "d",
            "serving": ServingConfig(
                max_model_len=128,
                tensor_parallel=tp,
                max_num_seqs=seqs,
                enable_prefix_caching=threshold is not None,
                extra_flags=() if threshold is None else (("--threshold", threshold),),
            ),
            "rate": None
            if state == "failed"
            else found(outcome="pass" if rate else "infeasible", rate_rps=rate, preliminary=False),
            "measuring_s": 3600 * hours / tp,
            **facts,
        }
    )


def search() -> list[Trial]:
    return [
        trial("t0", 6.0, tp=2, predicted_rps=9.0),
        trial("b0", 2.0, purpose="benchmark", hours=0.5, seqs=100),
        trial("t1", None, state="failed", tp=4, hours=0.25),
        trial("t2", 1.0, threshold=8, hours=2.0, predicted_rps=4.0),
        trial("t3", None, state="pruned", tp=4, predicted_rps=20.0),
        trial("t4", 8.0, tp=2, seqs=256, threshold=32),
        trial("t5", None),
        trial("f0-b0", 2.0, purpose="finalist", of="b0", seqs=100),
        trial("f0-t4", 7.6, tp=2, seqs=256, threshold=32, purpose="finalist", of="t4"),
        trial("f1-t4", 8.4, tp=2, seqs=256, threshold=32, purpose="finalist", of="t4"),
        trial("f1-b0", 2.1, purpose="finalist", of="b0", seqs=100),
    ]


def last(trials: Sequence[Trial]) -> tuple[Contender, ...]:
    again = [one for one in trials if one.purpose == "finalist"]
    return contenders(again, [one for one in trials if one.purpose == "benchmark"])


def words(path: Path) -> str:
    """All text of an SVG file."""
    return "\n".join(text for text in ET.parse(path).getroot().itertext() if text.strip())


def test_a_search_begins_with_the_default_and_ends_before_the_last_comparison() -> None:
    mine = searched(search(), "baseline")
    assert [one.id for one in mine] == ["b0", "t0", "t1", "t2", "t3", "t4", "t5"]
    assert searched(search(), "compressed") == []
    assert searched([trial("b0", 2.0, purpose="benchmark")], "baseline") == []


def test_the_best_so_far_counts_every_device_hour_and_only_rates_that_held() -> None:
    data = best_so_far(searched(search(), "baseline"))
    assert data is not None
    assert [round(mark.hours, 6) for mark in data.marks] == [0.5, 1.5, 1.75, 3.75, 4.75, 5.75, 6.75]
    assert [mark.kind for mark in data.marks] == [
        "default", "held", "failed", "held", "pruned", "held", "not held",
    ]  # fmt: skip
    assert [mark.rate for mark in data.marks] == [2.0, 3.0, None, 1.0, None, 4.0, None]
    # the slower t2 is no step; the line goes on to the end of what was spent
    assert data.steps == ((0.5, 2.0), (1.5, 3.0), (5.75, 4.0), (6.75, 4.0))


def test_the_best_prediction_is_per_device_and_counts_for_trials_without_a_rate() -> None:
    data = best_so_far(searched(search(), "baseline"))
    assert data is not None
    assert data.predicted == 20.0 / 4
    without = best_so_far([trial("t0", 6.0)])
    assert without is not None
    assert without.predicted is None


def test_a_search_without_times_or_without_a_rate() -> None:
    assert best_so_far([trial("t0", 6.0, hours=0.0)]) is None
    data = best_so_far([trial("t0", None)])
    assert data is not None
    assert data.steps == ()


def test_flags_lie_by_factors_and_the_default_lies_where_it_is() -> None:
    data = flags(searched(search(), "baseline"), DIMENSIONS, "t4")
    assert data is not None
    assert [axis.name for axis in data.axes] == [d.name for d in DIMENSIONS]
    ways = {axis.name: dict(axis.ticks) for axis in data.axes}
    assert ways["tensor_parallel"] == {"1": 0.0, "2": 0.5, "4": 1.0}
    # 100 is no value of the space, but the default has it
    assert ways["max_num_seqs"] == pytest.approx(
        {"16": 0.0, "64": 0.5, "100": math.log2(100 / 16) / 4, "256": 1.0}
    )
    assert ways["enable_prefix_caching"] == {"false": 0.0, "true": 1.0}
    assert ways["threshold"] == {"not set": 0.0, "8": 0.5, "32": 1.0}


def test_lines_with_the_same_value_are_fanned_out_by_rate_and_the_winner_is_last() -> None:
    data = flags(searched(search(), "baseline"), DIMENSIONS, "t4")
    assert data is not None
    assert [line.trial for line in data.lines if line.won] == ["t4"]
    assert data.lines[-1].won
    at = {line.trial: line.places[0] for line in data.lines}
    assert 0.5 < at["t4"] < 0.54  # tensor_parallel 2: above the slower one
    assert 0.46 < at["t0"] < 0.5
    assert len(set(at.values())) == len(at)


def test_labels_that_would_overlap_are_left_out_but_never_the_last() -> None:
    space = (Dimension(name="max_num_seqs", values=(16, 64, 98, 102, 256), log=True),)
    data = flags([trial("t0", 2.0, seqs=100), trial("t1", 2.0, seqs=16)], space, None)
    assert data is not None
    assert [text for text, _ in data.axes[0].ticks] == ["16", "64", "98", "", "", "256"]


def test_flags_that_do_not_vary_are_not_drawn() -> None:
    alone = (Dimension(name="tensor_parallel", values=(1,), log=True),)
    assert flags([trial("t0", 2.0), trial("t1", 3.0)], alone, None) is None


def test_importance_is_the_variance_between_groups_over_the_whole() -> None:
    # log rates: tp alone decides, two values; max_num_seqs is crossed with it and does nothing
    trials = [
        trial("a", 1.0, tp=1, seqs=16),
        trial("b", 1.0, tp=1, seqs=64),
        trial("c", 8.0, tp=2, seqs=16),
        trial("d", 8.0, tp=2, seqs=64),
        trial("e", None, tp=4, seqs=64),
        trial("f", None, state="failed", tp=4),
    ]
    data = importance(trials, DIMENSIONS)
    assert data is not None
    assert data.trials == 4
    shares = {share.name: share for share in data.shares}
    assert shares["tensor_parallel"].share == pytest.approx(1.0)
    assert shares["max_num_seqs"].share == pytest.approx(0.0, abs=1e-12)
    assert shares["tensor_parallel"].chance == pytest.approx(1 / 3)
    assert shares["enable_prefix_caching"].values == 1
    assert data.shares[0].name == "tensor_parallel"


def test_importance_of_flags_that_share_an_effect() -> None:
    # by hand: log2 rates 0, 1, 2, 3; tp groups {0, 1} and {2, 3}: 4 of 5 of the squares
    trials = [
        trial("a", 1.0, seqs=16),
        trial("b", 2.0, seqs=64),
        trial("c", 8.0, tp=2, seqs=16),
        trial("d", 16.0, tp=2, seqs=64),
    ]
    data = importance(trials, DIMENSIONS)
    assert data is not None
    shares = {share.name: share.share for share in data.shares}
    assert shares["tensor_parallel"] == pytest.approx(0.8)
    assert shares["max_num_seqs"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "trials",
    [
        [trial(f"t{k}", 1.0 + k, seqs=16 if k else 64) for k in range(3)],
        [trial(f"t{k}", 2.0, seqs=16 if k else 64) for k in range(6)],
        [trial(f"t{k}", 1.0 + k) for k in range(6)],
    ],
    ids=["too few", "all rates the same", "nothing varies"],
)
def test_there_is_no_importance_without_evidence(trials: list[Trial]) -> None:
    assert importance(trials, DIMENSIONS) is None


def test_the_last_comparison_names_the_winner() -> None:
    trials = search()
    mine = searched(trials, "baseline")
    assert winner_of(mine, ()) == "t4"
    upset = Contender(
        of="t0", variant="baseline", default=False, runs=("x",), rates_per_device=(9.0,)
    )
    assert winner_of(mine, [*last(trials), upset]) == "t0"
    other = upset.model_copy(update={"variant": "compressed"})
    assert winner_of(mine, [other]) == "t4"
    assert winner_of([trial("t0", None)], ()) is None


def test_bars_say_the_gain_with_its_interval() -> None:
    trials = search()
    benchmark = [one for one in trials if one.purpose == "benchmark"]
    tune = [one for one in trials if one.purpose != "benchmark"]
    corners = four_corners(benchmark, tune, False, last(trials))
    base, quantized, tuned, both = bars(corners)
    gain = corners["tuned"]
    assert (base.text, base.low) == ("", None)
    assert gain.gain_low is not None
    assert tuned.rate == pytest.approx(math.sqrt(3.8 * 4.2))
    assert tuned.text == f"gain {gain.gain:.2f}x\n95 %: {gain.gain_low:.2f} to {gain.gain_high:.2f}"
    assert tuned.low == pytest.approx((base.rate or 0.0) * gain.gain_low)
    assert (quantized.rate, both.rate) == (None, None)
    assert quantized.text == "not measured: the flow does not compress"


@pytest.mark.parametrize(
    ("tuned", "text"),
    [
        ({"gain": 1.5}, "gain 1.50x\nno interval"),
        (
            {"gain": 1.1, "gain_low": 0.9, "gain_high": 1.3},
            "gain 1.10x (a tie)\n95 %: 0.90 to 1.30",
        ),
        ({"gain": 1.0, "gain_low": 1.0, "gain_high": 1.0}, "gain 1x\nthe default won"),
        ({"reason": "no gain: the baseline has no rate"}, "no gain: the baseline has no rate"),
    ],
)
def test_a_tie_is_called_a_tie(tuned: dict[str, object], text: str) -> None:
    none = Corner(reason="not measured")
    corner = Corner.model_validate({"rate_rps": 3.0, "rate_per_gpu": 3.0, **tuned})
    base = Corner(rate_rps=2.0, rate_per_gpu=2.0, gain=1.0)
    found = bars({"baseline": base, "quantized": none, "tuned": corner, "both": none})
    assert found[2].text == text
    assert bars(dict.fromkeys(("baseline", "quantized", "tuned", "both"), none)) == ()


@pytest.mark.parametrize("simulated", [False, True])
def test_all_figures_are_written_and_say_what_they_show(tmp_path: Path, simulated: bool) -> None:
    pytest.importorskip("matplotlib")
    trials = search()
    written = write_tuning_plots(
        tmp_path, trials, {"baseline": SPACE}, last(trials), False, simulated
    )
    assert written == [tmp_path / name for name in TUNING_NAMES]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(TUNING_NAMES)
    best, way, share, four = map(words, written)
    assert {
        "device-hours spent",
        "best so far",
        "default configuration",
        "pruned",
        "failed",
        "no rate held",
        "best prediction: 5 (predicted, not measured)",
    } <= set(best.splitlines())
    assert {"best: t4 (4)", "not set", "100", "max_num_seqs"} <= set(way.splitlines())
    assert "4 trials that held a rate" in share
    assert "not measured: the flow" in four
    assert "95 % interval of the gain" in four
    for path in written:
        title = ET.parse(path).getroot().findtext("{http://www.w3.org/2000/svg}title") or ""
        assert title.startswith("SIMULATED: ") == simulated


def test_each_variant_has_a_panel_and_the_same_trials_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    both = search()
    both += [
        one.model_copy(update={"id": f"{one.id}c", "variant": "compressed"}) for one in search()
    ]
    spaces: dict[Variant, ResolvedSpace] = {"baseline": SPACE, "compressed": SPACE}
    written = write_tuning_plots(tmp_path, both, spaces, (), True)
    first = [path.read_bytes() for path in written]
    assert len(first) == 4
    for path in written[:2]:
        assert {"baseline", "compressed"} <= set(words(path).splitlines())
    assert "compressed, best prediction: 5 (predicted, not measured)" in words(written[0])
    assert write_tuning_plots(tmp_path, both, spaces, (), True) == written
    assert [path.read_bytes() for path in written] == first


def test_figures_without_anything_to_show_are_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spaces: dict[Variant, ResolvedSpace] = {"baseline": SPACE}
    default = trial("b0", 2.0, purpose="benchmark")
    assert write_tuning_plots(tmp_path, [default], spaces, (), False) == []
    failures = [trial(f"t{k}", None, state="failed") for k in range(5)]
    written = write_tuning_plots(tmp_path, failures, spaces, (), False)
    assert [path.name for path in written] == ["best-so-far.svg", "flags.svg"]


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "available", lambda: False)
    assert write_tuning_plots(tmp_path, search(), {"baseline": SPACE}, (), False) == []
    assert list(tmp_path.iterdir()) == []


def test_kinds_and_rates_differ_without_their_colour() -> None:
    assert len({_LOOKS[kind].marker for kind in KINDS}) == len(KINDS)
    assert len({str(_LOOKS[kind].line) for kind in KINDS[2:]}) == 3
    shades = [_shade(share / 10) for share in range(11)]
    grey = [
        0.299 * int(s[1:3], 16) + 0.587 * int(s[3:5], 16) + 0.114 * int(s[5:], 16) for s in shades
    ]
    assert grey == sorted(grey, reverse=True)
    assert grey[0] - grey[-1] > 100


@pytest.mark.parametrize(
    "rates", [[2.0, 3.0, 4.0], [0.013, 0.0131], [5.0], [], [0.96, 1204.0], [0.99, 6.01]]
)
def test_the_axis_of_rates_holds_all_rates(rates: list[float]) -> None:
    low, high = _round_about(rates)
    assert low < high
    assert all(low - 1e-9 <= rate <= high + 1e-9 for rate in rates)


def test_long_names_are_broken_at_their_underscores() -> None:
    assert _wrapped("max_num_batched_tokens", 12) == "max_num_\nbatched_\ntokens"
    assert _wrapped("block_size", 12) == "block_size"
