"""Plots as SVG: small, readable without a script or a network, with values under the pointer."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from gateway.core.simulation.tally import PEAK_STEPS, QuotaReport

WIDTH, HEIGHT = 460, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 30
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def draw_use(quota: QuotaReport) -> str:
    """Draw how much of the limit the busiest holder asked for over time, and when requests were refused."""
    if not quota.use:
        return ""
    first, last = quota.use[0][0], quota.use[-1][0]
    top = max(1.2, *(share for _, share, _ in quota.use))
    across = _scale(first, max(last, first + 1), LEFT, LEFT + INNER_WIDTH)
    up = _scale(0, top, TOP + INNER_HEIGHT, TOP)
    points = " ".join(f"{across(at):.1f},{up(share):.1f}" for at, share, _ in quota.use)
    marks = [
        f'<line class="refused" x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{TOP + INNER_HEIGHT}" y2="{TOP + INNER_HEIGHT - 8}">'
        f"<title>{_moment(at)}: {refused:,} refused</title></line>"
        for at, _, refused in quota.use
        if refused
    ]
    dots = [
        f'<circle cx="{across(at):.1f}" cy="{up(share):.1f}" r="5"><title>{_moment(at)}: {share:.0%} of the limit</title></circle>'
        for at, share, _ in quota.use
    ]
    return _plot(
        f"Use of {quota.name} over time",
        _axis_up([0, 1] if top < 2 else [0, 1, top], up, lambda share: f"{share:.0%}"),
        _axis_across([first, (first + last) / 2, last], across, _moment),
        f'<line class="limit" x1="{LEFT}" x2="{LEFT + INNER_WIDTH}" y1="{up(1):.1f}" y2="{up(1):.1f}"/>',
        f'<polyline class="line" points="{points}"/>',
        *marks,
        *dots,
    )


def draw_peaks(quota: QuotaReport) -> str:
    """Draw how many holders asked for which part of the limit at most."""
    most = max(1, *quota.peaks)
    up = _scale(0, most, TOP + INNER_HEIGHT, TOP)
    step = INNER_WIDTH / (PEAK_STEPS + 1)
    bars = []
    for index, count in enumerate(quota.peaks):
        is_over = index == PEAK_STEPS
        reach = (
            "more than the limit" if is_over else f"{index * 100 // PEAK_STEPS} to {(index + 1) * 100 // PEAK_STEPS} %"
        )
        bars.append(
            f'<rect class="{"over" if is_over else "bar"}" x="{LEFT + index * step + 1:.1f}" width="{step - 2:.1f}" '
            f'y="{up(count):.1f}" height="{TOP + INNER_HEIGHT - up(count):.1f}"><title>{reach}: {count:,}</title></rect>'
        )
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
    shares = [(one.limit, one.refused / quota.requests, one.holders / max(1, quota.holders)) for one in quota.curve]
    top = max(0.01, *(max(requests, holders) for _, requests, holders in shares))
    limits = [limit for limit, _, _ in shares]
    across = _scale(math.log(limits[0]), math.log(max(limits[-1], limits[0] + 1)), LEFT, LEFT + INNER_WIDTH)
    up = _scale(0, top, TOP + INNER_HEIGHT, TOP)
    lines = [
        f'<polyline class="{name}" points="{" ".join(f"{across(math.log(s[0])):.1f},{up(s[column]):.1f}" for s in shares)}"/>'
        for column, name in ((2, "holders"), (1, "line"))
    ]
    dots = [
        f'<circle cx="{across(math.log(limit)):.1f}" cy="{up(requests):.1f}" r="6">'
        f"<title>limit {limit:,}: {requests:.2%} of requests, {holders:.2%} of holders</title></circle>"
        for limit, requests, holders in shares
    ]
    own = across(math.log(max(1, quota.limit)))
    return _plot(
        f"What other limits of {quota.name} would refuse",
        _axis_up([0, top], up, lambda share: f"{share:.1%}"),
        _axis_across(
            [math.log(limits[0]), math.log(max(1, quota.limit)), math.log(limits[-1])],
            across,
            lambda x: f"{math.exp(x):,.0f}",
        ),
        f'<line class="limit" x1="{own:.1f}" x2="{own:.1f}" y1="{TOP}" y2="{TOP + INNER_HEIGHT}"/>',
        *lines,
        *dots,
    )


def draw_hours(hours: Mapping[str, Mapping[int, tuple[int, int]]]) -> str:
    """Draw the requests of each hour of each day, the darker the more; refused ones are told under the pointer."""
    days = list(hours)
    most = max((requests for day in hours.values() for requests, _ in day.values()), default=1)
    cell, left = 26, 86
    parts = [
        f'<text x="{left + hour * cell + cell / 2}" y="12" text-anchor="middle">{hour:02}</text>'
        for hour in range(0, 24, 3)
    ]
    for row, day in enumerate(days):
        y = 18 + row * 20
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{day}</text>')
        for hour, (requests, refused) in hours[day].items():
            share = refused / requests if requests else 0
            parts.append(
                f'<rect class="{"hot" if share > HOT else "cell"}" x="{left + hour * cell}" y="{y}" width="{cell - 2}" height="18" rx="2" '
                f'fill-opacity="{0.12 + 0.88 * requests / most:.2f}"><title>{day} {hour:02}:00: {requests:,} requests, {refused:,} refused</title></rect>'
            )
    return f'<svg viewBox="0 0 {left + 24 * cell} {24 + 20 * len(days)}" role="img" aria-label="Requests by hour">{"".join(parts)}</svg>'


HOT = 0.01
"""The share of refused requests from which an hour has another color."""


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) * (end - start) / (high - low)


def _axis_up(values: Sequence[float], up: Callable[[float], float], text: Callable[[float], str]) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{LEFT + INNER_WIDTH}" y1="{up(one):.1f}" y2="{up(one):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{up(one) + 4:.1f}" text-anchor="end">{text(one)}</text>'
        for one in values
    )


def _axis_across(values: Sequence[float], across: Callable[[float], float], text: Callable[[float], str]) -> str:
    anchors = ("start", "middle", "end")
    return "".join(
        f'<text x="{across(one):.1f}" y="{HEIGHT - 10}" text-anchor="{anchors[index]}">{text(one)}</text>'
        for index, one in enumerate(values)
    )


def _plot(label: str, *parts: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _moment(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%m-%d %H:%M")
