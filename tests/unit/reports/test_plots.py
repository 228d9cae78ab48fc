"""Figures of a rate search: the files that are written."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optikit.archive import JobArchive
from optikit.core.load import plan_load
from optikit.core.metrics import measure
from optikit.core.simulate import SimulatedServer
from optikit.core.steptimes import StepTimes
from optikit.core.timings import Timings
from optikit.errors import ArchiveError
from optikit.reports import _plot_draw as draw
from optikit.reports._plot_data import Completions
from optikit.reports.plots import NAMES, plots_of_job, why_no_plots, write_plots
from optikit.spec.record import Probe, RateResult, Trial
from optikit.spec.serving import ServingConfig
from optikit.spec.slo import Slo
from optikit.spec.workload import Workload
from tests.probes import found, probe
from tests.specs import small_plan

P95 = Slo.parse("p95(e2e) <= 2 s")
GOODPUT = "goodput(ttft <= 1 s, tpot <= 40 ms) >= 95 %"
WORKLOAD = Workload.parse({"prompt_tokens": 64, "output_tokens": 16})
SERVER = SimulatedServer(
    StepTimes(1e-4 * np.arange(257.0), 0.0, 0.0, step_s=0.02, seq_s=1e-3, source="made up"),
    max_num_seqs=8,
    max_num_batched_tokens=256,
    kv_tokens=10_000,
)


def simulated(number: int, rate: float, **facts: Any) -> tuple[Probe, Timings]:
    """A probe as a search leaves it, of a server that queues."""
    load = plan_load(WORKLOAD, rate, 60, number, before=10, after=10)
    seen = SERVER.run(load).timings
    whole = {"phase": "open", "verdict": "pass", "reason": "", "seed": number, **facts}
    return Probe(number=number, rate_rps=rate, measurement=measure(seen, P95, rate), **whole), seen


def keep(folder: Path, number: int, seen: Timings) -> Path:
    path = folder / f"probe-{number:02d}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in seen.rows()))
    return path


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Path, list[Probe], RateResult]:
    """A folder with two open probes; the rate of the first ships."""
    pytest.importorskip("matplotlib")
    probes = []
    for number, rate, verdict in ((3, 2.0, "pass"), (4, 12.0, "fail")):
        one, seen = simulated(number, rate, verdict=verdict)
        keep(tmp_path, number, seen)
        probes.append(one)
    return tmp_path, probes, found()


def words(path: Path) -> str:
    """All text of an SVG file."""
    return "\n".join(text for text in ET.parse(path).getroot().itertext() if text.strip())


def test_all_figures_are_written_and_say_what_they_show(
    searched: tuple[Path, list[Probe], RateResult],
) -> None:
    folder, probes, rate = searched
    written = write_plots(folder, probes, P95, rate)
    assert written == [folder / name for name in NAMES]
    latency, completed, flight = map(words, written)
    expected = {
        "p95(e2e) (ms)",
        "offered rate (requests/s)",
        "SLO limit",
        "limit 2000 ms",
        "pass",
        "fail",
        "certified rate: 2 requests/s",
        "sustainable rate, 95 % interval: 2.1 to 2.4 requests/s",
    }
    assert expected <= set(latency.splitlines())
    assert "Completions against arrivals, probe 3 at 2 requests/s (pass)" in completed
    slope = measure(simulated(3, 2.0)[1], P95, 2.0).slope
    assert f"slope of the measured: {slope:.3f} (95 % interval" in completed
    assert "measured: 60 requests" in completed
    assert "time (s after the probe began)" in flight
    assert "SIMULATED" not in latency + completed + flight
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".jsonl") == sorted(NAMES)


def test_a_simulated_figure_says_so_in_its_title(
    searched: tuple[Path, list[Probe], RateResult],
) -> None:
    folder, probes, rate = searched
    written = write_plots(folder, probes, P95, rate, simulated=True)
    assert len(written) == 3
    for path in written:
        title = ET.parse(path).getroot().findtext("{http://www.w3.org/2000/svg}title")
        assert title is not None
        assert title.startswith("SIMULATED: ")
        assert words(path).splitlines().count(title) >= 2  # of the file, and as it is drawn


def test_the_same_search_gives_the_same_bytes_and_leaves_settings_alone(
    searched: tuple[Path, list[Probe], RateResult],
) -> None:
    import matplotlib

    folder, probes, rate = searched
    before = dict(matplotlib.rcParams)
    first = [path.read_bytes() for path in write_plots(folder, probes, P95, rate)]
    assert [path.read_bytes() for path in write_plots(folder, probes, P95, rate)] == first
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("slo", "rate"),
    [
        (Slo(), found(saturation_rps=11.0, method="doubling")),
        (P95, None),
        (Slo.parse(["p95(e2e) <= 2 s", "p99(ttft) <= 3 ms", GOODPUT]), found(rate_high_rps=None)),
        (Slo.parse("p50(itl) <= 10 ms"), found(outcome="infeasible", rate_rps=None)),
    ],
)
def test_every_kind_of_search_can_be_drawn(
    searched: tuple[Path, list[Probe], RateResult], slo: Slo, rate: RateResult | None
) -> None:
    folder, probes, _ = searched
    others = [probe(5, 3.0, verdict="inconclusive"), probe(6, 90.0, verdict="void")]
    closed = probe(2, None, phase="closed")
    written = write_plots(folder, [closed, *others, *probes], slo, rate)
    has_latency = "itl" not in str(slo)
    assert [path.name for path in written] == list(NAMES if has_latency else NAMES[1:])


def test_a_figure_without_its_raw_file_is_left_out(
    searched: tuple[Path, list[Probe], RateResult],
) -> None:
    folder, probes, rate = searched
    (folder / "probe-03.jsonl").unlink()
    assert [path.name for path in write_plots(folder, probes, P95, rate)] == list(NAMES[:1])
    assert write_plots(folder, [], P95, None) == []


def test_a_record_does_not_choose_the_folder_of_its_raw_file(
    searched: tuple[Path, list[Probe], RateResult],
) -> None:
    folder, probes, rate = searched
    (folder / "deep").mkdir()
    outside = [one.model_copy(update={"raw": f"../probe-{one.number:02d}.jsonl"}) for one in probes]
    assert [p.name for p in write_plots(folder / "deep", outside, P95, rate)] == list(NAMES[:1])


@pytest.mark.parametrize("text", ['{"index": 0', '{"index": 0}\n', "[]\n", '{"measured": 3}\n'])
def test_a_damaged_raw_file_is_one_clear_error(
    searched: tuple[Path, list[Probe], RateResult], text: str
) -> None:
    folder, probes, rate = searched
    (folder / "probe-03.jsonl").write_text(text)
    with pytest.raises(ArchiveError, match=r"probe-03\.jsonl should hold a request a line"):
        write_plots(folder, probes, P95, rate)


def test_a_figure_that_cannot_be_written_leaves_the_old_one_whole(
    searched: tuple[Path, list[Probe], RateResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    folder, probes, rate = searched
    (folder / NAMES[0]).write_text("old")

    def torn(figure: Figure, path: Path, **options: Any) -> None:
        path.write_text("<svg")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", torn)
    with pytest.raises(OSError, match="no space"):
        write_plots(folder, probes, P95, rate)
    assert (folder / NAMES[0]).read_text() == "old"
    assert [p.name for p in folder.iterdir() if p.suffix != ".jsonl"] == [NAMES[0]]


def test_without_matplotlib_nothing_is_drawn_and_a_sentence_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "available", lambda: False)
    one, seen = simulated(3, 2.0)
    keep(tmp_path, 3, seen)
    assert write_plots(tmp_path, [one], P95, found()) == []
    assert not list(tmp_path.glob("*.svg"))
    why = why_no_plots()
    assert why is not None
    assert "pip install 'optikit[plots]'" in why


def test_verdicts_differ_without_their_colour() -> None:
    looks = [(look.marker, look.face == "white") for look in draw._LOOKS.values()]
    assert len(set(looks)) == len(looks)
    assert len({marker for marker, _ in looks}) == len(looks)


def test_a_long_probe_is_thinned_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    at = np.arange(6000) / 10
    span = np.zeros(6000, dtype=np.int64)
    data = Completions(at, at + 1 + np.sin(at), span, 0, None, 0.0)
    path = tmp_path / "completions.svg"
    with draw.style():
        draw.save(draw.draw_completions(data, "long"), path)
    assert "measured: 6000 requests, 1 in 3 drawn" in words(path)
    assert path.stat().st_size < 1_000_000


def test_every_trial_of_a_job_that_measured_a_rate_is_drawn(
    searched: tuple[Path, list[Probe], RateResult], tmp_path: Path
) -> None:
    folder, probes, rate = searched
    plan = small_plan(slo=["p95(e2e) <= 2 s"], method={"requests_per_probe": 300})
    archive = JobArchive.create(tmp_path / "home", plan, {})
    whole = rate.model_copy(update={"probes": tuple(probes)})
    for name, facts in (
        ("a", {"state": "complete", "rate": whole}),
        ("b", {"state": "complete", "rate": whole}),
        ("c", {"state": "failed", "error": "it died"}),
    ):
        trial = {"id": name, "number": 0, "purpose": "tune", "variant": "baseline", **facts}
        trial |= {"model_digest": "d", "serving": ServingConfig(max_model_len=128)}
        archive.event("trial", trial=Trial.model_validate(trial))
    for path in folder.glob("*.jsonl"):
        (archive.folder("trials", "a") / path.name).write_bytes(path.read_bytes())
    written = plots_of_job(archive)
    trials = archive.root / "trials"
    assert written[:4] == [*(trials / "a" / name for name in NAMES), trials / "b" / NAMES[0]]
    # of the search as a whole: no time is on record, and two rates are too few for importance
    assert written[4:] == [archive.root / "plots" / name for name in ("flags.svg", "corners.svg")]
    assert not (trials / "c").exists()
    assert not any("SIMULATED" in words(path) for path in written)
