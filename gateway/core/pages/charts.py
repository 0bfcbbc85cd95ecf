"""Numbers as people see them: bars of a chart, shares and large numbers."""

from collections.abc import Sequence

import msgspec

from gateway.core.pages.times import describe_day
from gateway.core.usage import UsagePoint

HEIGHT = 40
STEP = 10
LEAST = 2
"""Of a bar that stands for any requests at all: one must not look like none."""


class Bar(msgspec.Struct, frozen=True):
    """One day of a chart, in the units of its own drawing."""

    x: int
    height: int
    words: str

    @property
    def y(self) -> int:
        """Bars stand on the ground; a drawing begins at the top."""
        return HEIGHT - self.height


def build_bars(points: Sequence[UsagePoint]) -> list[Bar]:
    """A bar for each day, the largest as high as the drawing; a day without requests has one of height 1."""
    most = max((point.requests for point in points), default=0)
    return [
        Bar(
            x=index * STEP,
            height=max(LEAST, round(HEIGHT * point.requests / most)) if point.requests else 1,
            words=f"{describe_day(point.time)}: {describe_number(point.requests)}",
        )
        for index, point in enumerate(points)
    ]


def describe_number(number: int) -> str:
    """`12 345`, with thin spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


def describe_share(part: int | float, whole: int | float) -> str:
    """`12.5 %`; nothing of nothing is a dash. What is not all never reads as 100 %, what is some never as 0 %."""
    if not whole:
        return "\u2013"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f}".removesuffix(".0") + " %"
