"""The figures of a tuning stage; matplotlib is reached through ``_plot_draw`` alone.

A kind of trial differs in its mark and its kind of line, a rate also in lightness (dark is fast):
both can be told apart in grey print too. The colours of rates are those of matplotlib's viridis,
less its light end (van der Walt and Smith, 2015).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optikit.reports import _plot_draw as draw
from optikit.reports._elsewhere import Elsewhere
from optikit.reports.tuning import KINDS, Bar, BestSoFar, Flags, Importance, Kind, Line
from optikit.spec.record import Variant

if TYPE_CHECKING:
    from optikit.reports._plot_draw import Axes, Figure

__all__ = ["draw_best_so_far", "draw_corners", "draw_flags", "draw_importance"]

PER_DEVICE = "rate per device\n(requests/s)"
_ROW_IN, _BAR_IN, _COLUMN_IN = 0.17, 0.3, 0.95
_GROUND: dict[str, Any] = {"boxstyle": "square,pad=0.15", "fc": "white", "ec": "none"}
"""Behind a text that lines go through."""
_BESIDE: dict[str, Any] = {"random": (0, (1, 1)), "tpe": (0, (5, 1.5))}
_SLOW_TO_FAST = ("#6DCD59", "#35B779", "#1F9E89", "#26828E", "#31688E", "#3E4989", "#440154")


class _Look(NamedTuple):
    marker: str
    face: str
    edge: str
    label: str
    line: Any
    """Of a line without a rate."""


_LOOKS: dict[Kind, _Look] = {
    "default": _Look("D", "white", draw.INK, "default configuration", "-"),
    "held": _Look("o", draw.GREEN, draw.GREEN, "trial that held a rate", "-"),
    "not held": _Look("s", "white", draw.ORANGE, "no rate held", (0, (6, 2))),
    "pruned": _Look("|", draw.PALE, draw.PALE, "pruned", (0, (3, 2))),
    "failed": _Look("x", draw.RED, draw.RED, "failed", (0, (1, 1.6))),
}


def draw_best_so_far(
    found: Sequence[tuple[Variant, BestSoFar]],
    title: str,
    elsewhere: Mapping[Variant, Sequence[Elsewhere]],
) -> Figure:
    """A panel a variant, each with its trials without a rate at the foot.

    Args:
        found: variants with what their searches found.
        elsewhere: earlier searches for the same, by variant.
    """
    feet = [[k for k in KINDS[2:] if k in {m.kind for m in data.marks}] for _, data in found]
    heights = [
        h for kinds in feet for h in (2.4, *([_ROW_IN * (len(kinds) + 0.6)] if kinds else []))
    ]
    figure, axes = draw.panels(title, heights)
    left = iter(axes)
    for (variant, data), kinds in zip(found, feet, strict=True):
        ax = next(left)
        if len(found) > 1:
            ax.set_title(variant, loc="left")
        whose = f"{variant}, " if len(found) > 1 else ""
        _draw_progress(ax, data, whose, elsewhere.get(variant, ()))
        if kinds:
            _draw_foot(next(left), data, kinds)
    axes[-1].set_xlabel("device-hours spent")
    others = [one for variant, _ in found for one in elsewhere.get(variant, ())]
    spent = [data.marks[-1].hours for _, data in found] + [one.steps[-1][0] for one in others]
    axes[-1].set_xlim(0, 1.03 * max(spent))
    draw.legend(figure, axes)
    return figure


def _draw_progress(ax: Axes, data: BestSoFar, whose: str, elsewhere: Sequence[Elsewhere]) -> None:
    for one in elsewhere:
        hours, rates = zip(*one.steps, strict=True)
        label = f"{whose}{one.sampler}, in an earlier job"
        ax.step(
            hours,
            rates,
            where="post",
            color=draw.PALE,
            lw=1.2,
            ls=_BESIDE[one.sampler],
            zorder=2.2,
            label=label,
        )
    if data.steps:
        hours, rates = zip(*data.steps, strict=True)
        ax.step(
            hours, rates, where="post", color=draw.BLUE, lw=1.8, zorder=2.5, label="best so far"
        )
    for kind in KINDS[:2]:
        marks = [mark for mark in data.marks if mark.kind == kind and mark.rate is not None]
        _draw_marks(ax, kind, [m.hours for m in marks], [m.rate or 0.0 for m in marks])
    shown = [mark.rate for mark in data.marks if mark.rate is not None]
    shown += [rate for one in elsewhere for _, rate in one.steps]
    if data.predicted:
        shown.append(data.predicted)
        value = draw.short(data.predicted)
        label = f"{whose}best prediction: {value} (predicted, not measured)"
        ax.axhline(data.predicted, color=draw.RED, lw=1.5, ls=(0, (1, 1.5)), label=label)
    ax.set_ylabel(PER_DEVICE)
    draw.scale(ax.yaxis, shown, from_zero=True)


def _draw_foot(ax: Axes, data: BestSoFar, kinds: Sequence[Kind]) -> None:
    for row, kind in enumerate(reversed(kinds)):
        hours = [mark.hours for mark in data.marks if mark.kind == kind]
        _draw_marks(ax, kind, hours, [float(row)] * len(hours))
    ax.set_yticks(range(len(kinds)), [_LOOKS[kind].label for kind in reversed(kinds)], fontsize=8)
    ax.set_ylim(-0.8, len(kinds) - 0.2)
    ax.grid(False)
    ax.tick_params(axis="y", length=0)


def _draw_marks(ax: Axes, kind: Kind, x: Sequence[float], y: Sequence[float]) -> None:
    if not x:
        return
    look = _LOOKS[kind]
    ax.plot(
        x,
        y,
        ls="none",
        marker=look.marker,
        ms=6.5 if kind == "default" else 5.0,
        mfc=look.face,
        mec=look.edge,
        mew=1.3,
        zorder=3,
        clip_on=False,
        label=look.label if kind in KINDS[:2] else None,
    )


def draw_flags(found: Sequence[tuple[str, Flags]], title: str) -> Figure:
    """Parallel coordinates, a panel a variant; the last axis is the rate per device."""
    columns = 1 + max(len(data.axes) for _, data in found)
    figure, axes = draw.panels(
        title, [3.3] * len(found), share_x=False, width_in=max(7.2, _COLUMN_IN * columns)
    )
    for ax, (variant, data) in zip(axes, found, strict=True):
        if len(found) > 1:
            ax.set_title(variant, loc="left")
        _draw_parallel(ax, data)
    draw.legend(figure, axes)
    return figure


def _draw_parallel(ax: Axes, data: Flags) -> None:
    rates = [line.rate for line in data.lines if line.rate is not None]
    low, high = _round_about(rates)
    without = [k for k in KINDS[2:] if k in {line.kind for line in data.lines}]
    feet = {kind: -0.12 - 0.09 * row for row, kind in enumerate(without)}
    last = len(data.axes)
    drawn = set[str]()
    for line in data.lines:
        end = feet[line.kind] if line.rate is None else (line.rate - low) / (high - low)
        look, label = _looks(line, (line.rate - min(rates)) if line.rate else 0.0, rates)
        label = "" if label in drawn else label
        drawn.add(label)
        if line.won:
            ax.plot(range(last + 1), (*line.places, end), color="white", lw=6, zorder=2.8)
        ax.plot(range(last + 1), (*line.places, end), label=label or None, **look)
    for column, axis in enumerate(data.axes):
        ax.axvline(column, color=draw.INK, lw=0.9, zorder=2.6)
        for text, place in axis.ticks:
            ax.plot([column], [place], marker="_", ms=5, color=draw.INK, zorder=2.9)
            if text:
                _beside_axis(ax, text, column, place, right=False)
    ax.axvline(last, color=draw.INK, lw=0.9, zorder=2.6)
    for rate in np.linspace(low, high, 6) if rates else ():
        _beside_axis(ax, f"{rate:.3g}", last, (rate - low) / (high - low), right=True)
    for kind, place in feet.items():
        _beside_axis(ax, _LOOKS[kind].label, last, place, right=True)
    names = [_wrapped(axis.name, max(12, 90 // (last + 1))) for axis in data.axes]
    ax.set_xticks(range(last + 1), [*names, "rate\nper device\n(requests/s)"], fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", length=0)
    ax.set_yticks([])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xlim(-0.12 * last, last + 0.12 * last)
    ax.set_ylim(min(feet.values(), default=0.0) - 0.06, 1.06)


def _looks(line: Line, above: float, rates: Sequence[float]) -> tuple[dict[str, Any], str]:
    """How a trial's line is drawn, and what it is called in the legend."""
    if line.rate is None:
        look = _LOOKS[line.kind]
        style = {"color": draw.PALE, "lw": 0.9, "ls": look.line, "zorder": 1.5}
        return style, look.label
    share = above / ((max(rates) - min(rates)) or 1.0)
    style = {"color": _shade(share), "lw": 1.4, "ls": "-", "zorder": 2 + 0.5 * share}
    if line.kind == "default":
        style |= {"ls": (0, (4, 1.2, 1, 1.2)), "lw": 2.0}
    if line.won:
        return style | {"lw": 3.4, "zorder": 2.85}, f"best: {line.trial} ({draw.short(line.rate)})"
    if line.kind == "default":
        return style, "default configuration"
    return style, "trial that held a rate; darker is faster"


def _beside_axis(ax: Axes, text: str, column: int, place: float, *, right: bool) -> None:
    ax.annotate(
        text,
        (column, place),
        xytext=(5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="center",
        fontsize=8,
        bbox=_GROUND,
        zorder=4,
    )


def draw_importance(found: Sequence[tuple[str, Importance]], title: str) -> Figure:
    """Bars, a panel a variant."""
    heights = [_BAR_IN * (len(data.shares) + 0.5) for _, data in found]
    figure, axes = draw.panels(title, heights)
    for ax, (variant, data) in zip(axes, found, strict=True):
        named = f"{variant}: " if len(found) > 1 else ""
        ax.set_title(f"{named}{data.trials} trials that held a rate", loc="left", fontsize=9)
        rows = range(len(data.shares))
        shares = [100 * share.share for share in data.shares]
        ax.barh(rows, shares, height=0.62, color=draw.BLUE, label="share between the flag's values")
        chance = [100 * share.chance for share in data.shares if share.values > 1]
        at = [row for row in rows if data.shares[row].values > 1]
        label = "share to be expected of a flag that does nothing"
        ax.plot(
            chance, at, ls="none", marker="|", ms=13, mew=5.0, color="white", zorder=3,
        )  # fmt: skip
        ax.plot(
            chance, at, ls="none", marker="|", ms=13, mew=2.2, color=draw.ORANGE, zorder=3.1,
            label=label,
        )  # fmt: skip
        for row, share in enumerate(data.shares):
            text = f"{100 * share.share:.0f} %" if share.values > 1 else "one value only"
            ax.annotate(
                text,
                (100 * max(share.share, share.chance), row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        ax.set_yticks(rows, [share.name for share in data.shares])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set_xlim(0, 112)
        ax.set_xticks(range(0, 101, 20))
    axes[-1].set_xlabel("share of the variance of log(rate per device), %")
    draw.legend(figure, axes)
    return figure


def draw_corners(found: Sequence[Bar], title: str) -> Figure:
    """A bar a corner, with its gain over the baseline."""
    figure, (ax,) = draw.panels(title, [3.0])
    top = max(bar.high or bar.rate or 0.0 for bar in found)
    for column, bar in enumerate(found):
        if bar.rate is None:
            text = _lines(bar.text or "not measured", 24, 5)
            _above(ax, column, 0.0, text, pale=True)
            continue
        ax.bar(
            column,
            bar.rate,
            width=0.58,
            color=draw.PALE if bar.name == "baseline" else draw.BLUE,
            alpha=0.45 if bar.preliminary else 0.9,
            hatch="//" if bar.preliminary else None,
            edgecolor="white",
            label="preliminary" if bar.preliminary else None,
        )
        if bar.low is not None and bar.high is not None:
            ax.errorbar(
                column,
                bar.rate,
                yerr=[[bar.rate - bar.low], [bar.high - bar.rate]],
                ecolor=draw.INK,
                elinewidth=1.4,
                capsize=5,
                capthick=1.4,
                fmt="none",
                label="95 % interval of the gain",
            )
        note = f"\n{_lines(bar.text, 26, 3)}" if bar.text else ""
        _above(ax, column, max(bar.high or 0.0, bar.rate), f"{draw.short(bar.rate)}{note}")
    ax.set_xticks(range(len(found)), [bar.name for bar in found])
    ax.set_xlim(-0.5, len(found) - 0.5)
    ax.set_ylim(0, 1.3 * top)
    ax.grid(visible=False, axis="x")
    ax.set_ylabel(PER_DEVICE)
    if ax.get_legend_handles_labels()[1]:
        draw.legend(figure, [ax])
    return figure


def _above(ax: Axes, column: int, value: float, text: str, *, pale: bool = False) -> None:
    ax.annotate(
        text,
        (column, value),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color="#555555" if pale else draw.INK,
        linespacing=1.25,
        bbox=_GROUND,
    )


def _shade(share: float) -> str:
    """Colour of a rate: 0 the slowest, 1 the fastest."""
    table = np.array([[int(code[k : k + 2], 16) for k in (1, 3, 5)] for code in _SLOW_TO_FAST])
    at = np.linspace(0, 1, len(table))
    red, green, blue = (round(float(np.interp(share, at, table[:, k]))) for k in range(3))
    return f"#{red:02X}{green:02X}{blue:02X}"


def _round_about(rates: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis with five equal parts of round numbers that holds all rates."""
    low, high = min(rates, default=0.0), max(rates, default=1.0)
    part = ((high - low) or 0.1 * high or 1.0) / 5
    while True:
        power = 10.0 ** np.floor(np.log10(part))
        step = next(s for s in (1, 2, 2.5, 5, 10) if s * power >= part * (1 - 1e-9)) * power
        bottom = float(np.floor(low / step + 1e-9) * step)
        if bottom + 5 * step >= high * (1 - 1e-9):
            return bottom, bottom + 5 * step
        part = step * 1.01


def _wrapped(name: str, width: int) -> str:
    """A flag's name over several lines, broken at its underscores."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _lines(text: str, width: int, most: int) -> str:
    """A text in at most so many lines; an ellipsis where more is left."""
    return "\n".join(
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, width, max_lines=most, placeholder=" ...")
    )
