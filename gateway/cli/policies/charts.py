"""Plots as SVG: small, readable without a script or a network, with values under the pointer."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from gateway.core.simulation.tally import PEAK_STEPS, QuotaReport

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 30
INNER_WIDTH, FLOOR = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM
HOT = 0.01
"""The share of refused requests from which an hour has another color."""

Scale = Callable[[float], float]


def draw_use(quota: QuotaReport) -> str:
    """Draw how much of the limit the busiest holder asked for over time, and when requests were refused."""
    if not quota.use:
        return ""
    first, last = quota.use[0][0], quota.use[-1][0]
    top = max(1.2, *(share for _, share, _ in quota.use))
    across, up = _scale(first, max(last, first + 1), LEFT, LEFT + INNER_WIDTH), _scale(0, top, FLOOR, TOP)
    marks = [
        _line(across(at), FLOOR, across(at), FLOOR - 8, "refused", f"{_moment(at)}: {refused:,} refused")
        for at, _, refused in quota.use
        if refused
    ]
    dots = [_dot(across(at), up(share), f"{_moment(at)}: {share:.0%} of the limit") for at, share, _ in quota.use]
    return _plot(
        f"Use of {quota.name} over time",
        _axis_up([0, 1] if top < 2 else [0, 1, top], up, lambda share: f"{share:.0%}"),
        _axis_across([first, (first + last) / 2, last], across, _moment),
        _line(LEFT, up(1), LEFT + INNER_WIDTH, up(1), "limit"),
        _path([(across(at), up(share)) for at, share, _ in quota.use], "line"),
        *marks,
        *dots,
    )


def draw_peaks(quota: QuotaReport) -> str:
    """Draw how many holders asked for which part of the limit at most."""
    most = max(1, *quota.peaks)
    up, step, bars = _scale(0, most, FLOOR, TOP), INNER_WIDTH / (PEAK_STEPS + 1), list[str]()
    for index, count in enumerate(quota.peaks):
        reach, color = f"{index * 100 // PEAK_STEPS} to {(index + 1) * 100 // PEAK_STEPS} %", "bar"
        if index == PEAK_STEPS:
            reach, color = "more than the limit", "over"
        x, y = LEFT + index * step + 1, up(count)
        bars.append(_box(x, y, step - 2, FLOOR - y, color, f"{reach}: {count:,}"))
    across = _scale(0, PEAK_STEPS, LEFT, LEFT + INNER_WIDTH - step)
    return _plot(
        f"Peaks of {quota.name}",
        _axis_up([0, most], up, lambda count: f"{count:,.0f}"),
        _axis_across([0, PEAK_STEPS / 2, PEAK_STEPS], across, lambda part: f"{part / PEAK_STEPS:.0%}"),
        *bars,
    )


def draw_curve(quota: QuotaReport) -> str:
    """Draw which share of the requests, and of the holders, other limits would refuse."""
    if not quota.curve or not quota.requests:
        return ""
    points = [
        (math.log(one.limit), one.refused / quota.requests, one.holders / max(1, quota.holders), one.limit)
        for one in quota.curve
    ]
    first, last, own = points[0][0], points[-1][0], math.log(max(1, quota.limit))
    top = max(0.01, *(max(requests, holders) for _, requests, holders, _ in points))
    across, up = _scale(first, max(last, first + 1), LEFT, LEFT + INNER_WIDTH), _scale(0, top, FLOOR, TOP)
    return _plot(
        f"What other limits of {quota.name} would refuse",
        _axis_up([0, top], up, lambda share: f"{share:.1%}"),
        _axis_across([first, own, last], across, lambda x: f"{math.exp(x):,.0f}"),
        _line(across(own), TOP, across(own), FLOOR, "limit"),
        _path([(across(x), up(holders)) for x, _, holders, _ in points], "holders"),
        _path([(across(x), up(requests)) for x, requests, _, _ in points], "line"),
        *(
            _dot(across(x), up(requests), f"limit {limit:,}: {requests:.2%} of requests, {holders:.2%} of holders")
            for x, requests, holders, limit in points
        ),
    )


def draw_hours(hours: Mapping[str, Mapping[int, tuple[int, int]]]) -> str:
    """Draw the requests of each hour of each day, the darker the more; refused ones are told under the pointer."""
    most = max((requests for day in hours.values() for requests, _ in day.values()), default=1)
    cell, left, parts = 26, 86, list[str]()
    for hour in range(0, 24, 3):
        parts.append(_text(left + hour * cell + cell / 2, 12, "middle", f"{hour:02}"))
    for row, (day, of_day) in enumerate(hours.items()):
        y = 18 + row * 20
        parts.append(_text(left - 8, y + 14, "end", day))
        for hour, (requests, refused) in of_day.items():
            color = "hot" if refused > HOT * requests else "cell"
            told = f"{day} {hour:02}:00: {requests:,} requests, {refused:,} refused"
            parts.append(_box(left + hour * cell, y, cell - 2, 18, color, told, 0.12 + 0.88 * requests / most))
    return _svg(left + 24 * cell, 24 + 20 * len(hours), "Requests by hour", parts)


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) * (end - start) / (high - low)


def _axis_up(values: Sequence[float], up: Scale, text: Callable[[float], str]) -> str:
    return "".join(
        _line(LEFT, up(one), LEFT + INNER_WIDTH, up(one), "grid") + _text(LEFT - 6, up(one) + 4, "end", text(one))
        for one in values
    )


def _axis_across(values: Sequence[float], across: Scale, text: Callable[[float], str]) -> str:
    anchors = ("start", "middle", "end")
    return "".join(_text(across(one), HEIGHT - 10, anchors[index], text(one)) for index, one in enumerate(values))


def _plot(label: str, *parts: str) -> str:
    return _svg(WIDTH, HEIGHT, label, parts)


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str, title: str = "") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">{_title(title)}</line>'


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _dot(x: float, y: float, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5">{_title(title)}</circle>'


def _box(x: float, y: float, width: float, height: float, kind: str, title: str, opacity: float = 1) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {size} fill-opacity="{opacity:.2f}">{_title(title)}</rect>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _moment(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%m-%d %H:%M")
