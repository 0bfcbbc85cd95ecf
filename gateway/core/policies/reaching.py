"""Rules that no request can reach: their author believes that they have an effect, but they have none."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from gateway.core.own_addresses import OwnAddresses
from gateway.core.policies.matching import ANY_METHOD, Matcher, Pattern, is_parameter

Target = TypeVar("Target")

_OTHER = "\0"
"""A segment, and a method, that no pattern names: if any request reaches a rule, one with these does."""


def find_obstacle(
    target: Target, pattern: Pattern, matchers: Iterable[Matcher[Target]], own: OwnAddresses | None, depth: int
) -> str | None:
    """Return what keeps every request from the target of a pattern, or None if one reaches it.

    `matchers` are those of its hosts, and no pattern in them has more segments than `depth`. `own` are the addresses
    that the gateway answers itself in front of the backend.
    """
    matchers, names = list(matchers), set[str]()
    for segments in _requests(pattern, depth):
        name = own.find(segments) if own else None
        if name is not None and own is not None:
            names.add(own.path(name))
        elif any(matcher.match(method, segments) is target for matcher in matchers for method in _methods(pattern)):
            return None
    if names:
        return f"the gateway itself answers {', '.join(sorted(names))}; GATEWAY_OWN_PREFIX moves its addresses"
    return "more specific rules match all that it matches"


def _methods(pattern: Pattern) -> Iterator[str]:
    yield from (_OTHER if method == ANY_METHOD else method for method in pattern.methods)


def _requests(pattern: Pattern, depth: int) -> Iterator[tuple[str, ...]]:
    """Yield the paths of a pattern, one of each kind that other patterns could distinguish."""
    segments = tuple(_OTHER if is_parameter(segment) else segment for segment in pattern.segments)
    if segments:
        yield segments
    for count in range(depth + 2 - len(segments) if pattern.matches_below else 0):
        below = (*segments, *[_OTHER] * count)
        yield (*below, _OTHER)
        yield (*below, "")
