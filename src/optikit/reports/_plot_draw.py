"""The figures as SVG; the one importer of matplotlib, which it imports when it draws.

Figures are made as objects, without pyplot: no window, no state that others see. What one verdict
looks like differs in shape, fill and colour (the colours of Okabe and Ito, Color Universal Design,
2008), so that it can be told apart in grey print too.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optikit.reports._plot_data import Completions, InFlight, Panel, Point, RatePlot

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "MISSING",
    "ORANGE",
    "PALE",
    "RED",
    "SHADE",
    "available",
    "draw_completions",
    "draw_in_flight",
    "draw_rate",
    "legend",
    "panels",
    "save",
    "scale",
    "short",
    "style",
]

MISSING = "figures need matplotlib, which is not installed: pip install 'optikit[plots]'"

INK, PALE, SHADE = "#222222", "#8A8A8A", "#EDEDED"
BLUE, RED, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
_WIDTH_IN = 7.2
_BREAK = "\n"
_MOST_POINTS = 2500
"""More than these of one kind make a file large and no picture clearer."""
_LOG_FROM = 12.0
"""Largest over smallest value from which an axis is logarithmic."""


class _Look(NamedTuple):
    marker: str
    face: str
    edge: str
    size: float
    label: str


_LOOKS = {
    "pass": _Look("o", GREEN, GREEN, 7.0, "pass"),
    "fail": _Look("X", RED, RED, 9.0, "fail"),
    "inconclusive": _Look("D", "white", ORANGE, 6.0, "inconclusive"),
    "void": _Look("P", "white", PALE, 7.5, "void"),
    None: _Look("s", "white", PALE, 5.5, "closed loop, at the rate it achieved"),
}
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "optikit",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.titlesize": 10.5,
}


def available() -> bool:
    """Whether matplotlib is installed; does not import it."""
    return importlib.util.find_spec("matplotlib") is not None


@contextmanager
def style() -> Iterator[None]:
    """Our settings and nobody else's, for as long as figures are made and written."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def save(figure: Figure, path: Path) -> None:
    """Write an SVG, whole or not at all; the same figure gives the same bytes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    title = figure.get_suptitle().replace("\n", " ")
    try:
        figure.savefig(
            partial, format="svg", metadata={"Date": None, "Creator": "OptiKIT", "Title": title}
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def draw_rate(data: RatePlot, title: str) -> Figure:
    """A panel for each bound, over one axis of rates."""
    figure, axes = panels(title, [2.1] * len(data.panels))
    points = [point for panel in data.panels for point in panel.points]
    marks = (data.rate_rps, data.low_rps, data.high_rps, data.saturation_rps)
    rates = [*(point.rate_rps for point in points), *(mark for mark in marks if mark)]
    for ax, panel in zip(axes, data.panels, strict=True):
        _draw_rates(ax, data)
        _draw_panel(ax, panel)
        scale(ax.xaxis, rates, from_zero=False)
    axes[-1].set_xlabel(
        "rate (requests/s)"
        if any(p.verdict is None for p in points)
        else "offered rate (requests/s)"
    )
    legend(figure, axes)
    return figure


def _draw_rates(ax: Axes, data: RatePlot) -> None:
    if data.low_rps and data.high_rps:
        what = "highest pass to lowest fail" if data.bracket else "95 % interval"
        label = f"sustainable rate, {what}: {_span(data.low_rps, data.high_rps)} requests/s"
        ax.axvspan(data.low_rps, data.high_rps, color="#D6E6F2", lw=0, zorder=0.5, label=label)
    if data.rate_rps:
        what = "certified rate" if data.certified else "rate that passed (preliminary)"
        label = f"{what}: {short(data.rate_rps)} requests/s"
        ax.axvline(data.rate_rps, color=BLUE, lw=1.4, zorder=1.5, label=label)
    if data.saturation_rps:
        label = f"saturation throughput: {short(data.saturation_rps)} requests/s"
        ax.axvline(data.saturation_rps, color=INK, lw=1.2, ls=(0, (1, 1.5)), label=label)


def _draw_panel(ax: Axes, panel: Panel) -> None:
    ax.set_ylabel(f"{panel.name}{_BREAK if len(panel.name) > 14 else ' '}({panel.unit})")
    values = [
        value for p in panel.points for value in (p.value, p.low, p.high) if value is not None
    ]
    if panel.limit is not None:
        values.append(panel.limit)
        ax.axhline(panel.limit, color=INK, lw=1.2, ls=(0, (5, 3)), zorder=1.4, label="SLO limit")
        ax.annotate(
            f"limit {short(panel.limit)} {panel.unit.partition(' ')[0]}",
            xy=(1.0, panel.limit),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    for verdict, look in _LOOKS.items():
        shown = [point for point in panel.points if point.verdict == verdict]
        if shown:
            _draw_points(ax, shown, look)
    scale(ax.yaxis, values, from_zero=True)


def _draw_points(ax: Axes, points: Sequence[Point], look: _Look) -> None:
    from matplotlib.patheffects import withStroke

    x = [point.rate_rps for point in points]
    below = [0.0 if p.low is None else max(p.value - p.low, 0.0) for p in points]
    above = [0.0 if p.high is None else max(p.high - p.value, 0.0) for p in points]
    drawn = ax.errorbar(
        x,
        [point.value for point in points],
        yerr=[below, above],
        fmt=look.marker,
        ms=look.size,
        mfc=look.face,
        mec=look.edge if look.face == "white" else "white",
        mew=1.4 if look.face == "white" else 0.7,
        ecolor=look.edge,
        elinewidth=1.6,
        capsize=3.2,
        capthick=1.6,
        zorder=3,
    )
    markers, caps, bars = drawn.lines
    # the line of the certified rate goes through the very probes that certified it
    for bar in bars:
        bar.set_path_effects([withStroke(linewidth=4.0, foreground="white")])
    for cap in caps:
        cap.set_zorder(3.2)
    markers.set_zorder(3.5)
    markers.set_label(look.label)


def draw_completions(data: Completions, title: str) -> Figure:
    """Completion against arrival, and below it the difference, where a slope is seen better."""
    figure, axes = panels(title, [2.9, 1.5])
    above, below = axes
    kinds = (
        (-1, "x", PALE, "before (fills the server up)"),
        (0, "o", BLUE, "measured"),
        (1, "+", ORANGE, "after (keeps the load on)"),
    )
    for kind, marker, colour, label in kinds:
        index = np.flatnonzero(data.span == kind)
        every = -(-len(index) // _MOST_POINTS) or 1
        if not len(index):
            continue
        c, r = data.arrived_s[index][::every], data.completed_s[index][::every]
        thinned = "" if every == 1 else f", 1 in {every} drawn"
        look: dict[str, Any] = {
            "ls": "none",
            "marker": marker,
            "ms": 3.2,
            "mew": 0.7,
            "mec": colour,
        }
        look |= {"mfc": "none", "zorder": 2.5, "label": f"{label}: {len(index)} requests{thinned}"}
        above.plot(c, r, **look)
        below.plot(c, r - c, **look)
    arrived = data.arrived_s[data.span == 0]
    ends = np.array([arrived.min(), arrived.max()])
    whole = np.array([min(data.arrived_s.min(), 0.0), data.arrived_s.max()])
    above.plot(whole, whole, color=INK, lw=1.0, ls=(0, (1, 1.5)), label="completed on arrival")
    if data.slope is not None:
        fitted = data.intercept_s + data.slope.value * ends
        label = (
            f"slope of the measured: {data.slope.value:.3f} "
            f"(95 % interval {data.slope.low:.3f} to {data.slope.high:.3f}; 1 is steady)"
        )
        for ax, line in ((above, fitted), (below, fitted - ends)):
            ax.plot(ends, line, color="white", lw=3.0, zorder=2.8)
            ax.plot(ends, line, color=RED, lw=1.8, zorder=2.9, label=label)
    if data.unanswered:
        above.plot([], [], ls="none", label=f"{data.unanswered} measured ones not answered")
    above.set_ylabel("completion\n(s after the probe began)")
    below.set_ylabel("completion less\narrival (s)")
    below.set_ylim(bottom=0)
    above.set_ylim(bottom=0)
    below.set_xlabel("arrival (s after the probe began)")
    legend(figure, axes, columns=1 if data.slope else 2)
    return figure


def draw_in_flight(data: InFlight, title: str) -> Figure:
    """A step line over the time of a probe; the measured span shaded."""
    figure, (ax,) = panels(title, [2.9])
    if data.measured_s is not None:
        label = "measured: first arrival to last completion"
        ax.axvspan(*data.measured_s, color=SHADE, lw=0, zorder=0.5, label=label)
    ax.step(data.time_s, data.count, where="post", color=BLUE, lw=1.1, label="in flight")
    if data.mean is not None and data.measured_s is not None:
        label = f"mean of the measured span: {short(data.mean)}"
        ax.plot(data.measured_s, [data.mean] * 2, color=RED, lw=1.5, ls=(0, (5, 3)), label=label)
    ax.set_ylim(0, max(1.08 * int(data.count.max()), 1.08))
    locator: Any = ax.yaxis.get_major_locator()
    locator.set_params(integer=True)
    ax.set_xlim(min(0.0, float(data.time_s[0])), None)
    ax.set_xlabel("time (s after the probe began)")
    ax.set_ylabel("requests sent and not ended")
    legend(figure, [ax])
    return figure


def panels(
    title: str, heights_in: Sequence[float], *, share_x: bool = True, width_in: float = _WIDTH_IN
) -> tuple[Figure, list[Axes]]:
    """A figure with axes below each other, of these heights."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, sum(heights_in) + 1.6), layout="constrained")
    figure.suptitle(title, x=0.02, ha="left", weight="bold")
    grid = figure.subplots(
        len(heights_in), 1, sharex=share_x, squeeze=False, height_ratios=list(heights_in)
    )
    return figure, list(grid[:, 0])


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 2) -> None:
    """One legend for all panels, below them."""
    found: dict[str, Any] = {}
    for ax in axes:
        for artist, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, artist)
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)


def scale(axis: Any, values: Sequence[float], *, from_zero: bool) -> None:
    """Linear, or logarithmic with plain numbers where the values lie far apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = min(values, default=1.0), max(values, default=1.0)
    is_x = axis.axis_name == "x"
    if low > 0 and high > _LOG_FROM * low:
        (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        pad = (high / low) ** 0.06
        axis.axes.set(**{f"{axis.axis_name}lim": (low / pad, high * pad)})
        return
    room = 0.08 * (high - low) or 0.1 * high
    bottom = 0.0 if from_zero else max(low - room, 0.0)
    axis.axes.set(**{f"{axis.axis_name}lim": (bottom, high + room)})


def short(value: float) -> str:
    """Four digits, never an exponent."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _span(low: float, high: float) -> str:
    return f"{short(low)} to {short(high)}"
