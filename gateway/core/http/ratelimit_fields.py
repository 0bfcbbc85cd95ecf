"""The RateLimit fields of draft-ietf-httpapi-ratelimit-headers-11 (May 2026): the one place that writes them.

Both are a List of Strings with parameters (RFC 9651). An intermediary must not make what a backend says more permissive
(section 6): what the backend says of our policies is kept if it is stricter, what it says of others is kept unchanged,
and what cannot be read is left out, because it would make the whole list unreadable. Quotas in shadow are not
announced: they never refuse a request.
"""

import re
from collections.abc import Iterable, Sequence

from gateway.core.http.messages import Field, Fields, field_values
from gateway.core.quotas.model import CONCURRENT, Quota, Window

POLICY_FIELD, LIMIT_FIELD = b"ratelimit-policy", b"ratelimit"

# sf-string with parameters whose values are strings, tokens, numbers, byte sequences or booleans, RFC 9651 3.1.2, 3.3
_PARAMETER = (
    r""";[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|:[A-Za-z0-9+/=]*:|\?[01]|[A-Za-z0-9*_.:/%+-]+))?"""
)
_ITEM = re.compile(rf"""("(?:[ !#-\[\]-~]|\\["\\])*")((?:{_PARAMETER})*)""")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")
_NUMBER = {letter: re.compile(rf";[ ]*{letter}=(\d{{1,15}})(?![\d.])") for letter in "qr"}


def build_ratelimit_policy(quotas: Iterable[Quota]) -> bytes:
    """Build RateLimit-Policy: the quota (q) and its time window in seconds (w), or that it counts requests in flight.

    A token bucket announces its burst, as r is never above q, and the time that it takes to fill, so that q over w is
    its rate. w is rounded up, so that a client that paces by it never meets an empty bucket.
    """
    return ", ".join(
        [
            f'"{quota.name}";q={quota.capacity};qu="concurrent-requests"'
            if quota.is_concurrency
            else f'"{quota.name}";q={quota.capacity};w={quota.policy_window_seconds}'
            for quota in quotas
            if not quota.is_shadow
        ]
    ).encode()


def build_ratelimit(windows: Iterable[Window], now: int) -> bytes:
    """Build RateLimit: what is left (r), and the seconds in which no more can be used (t, section 4.1.2).

    These end with a fixed window; when the weight of the window before gives a unit back (sliding window counter); when
    the oldest request leaves (moving window); when the next unit is added (token bucket). The end of a request in
    flight is unknown. `now` is in milliseconds.
    """
    items: list[str] = []
    for window in windows:
        quota = window.quota
        if not quota.is_shadow:
            left, reset = window.left_and_reset(now)
            end = "" if quota.algorithm == CONCURRENT else f";t={reset}"
            items.append(f'"{quota.name}";r={left}{end}')
    return ", ".join(items).encode()


def join_backends(policy_field: bytes, limit_field: bytes, backends: Fields) -> list[Field]:
    """Return our two values and those of a backend's fields as one list each; of one name, the stricter is kept.

    If both say what is left, the smaller r is the stricter, together with its policy; else the smaller q is.
    """
    policies, limits = _parse(field_values(backends, POLICY_FIELD)), _parse(field_values(backends, LIMIT_FIELD))
    own_policies, own_limits = _parse([policy_field]), _parse([limit_field])
    for name in own_policies.keys() & (policies.keys() | limits.keys()):
        if not _is_stricter(name, policies, limits, own_policies, own_limits):
            policies.pop(name, None)
            limits.pop(name, None)
    joined = ((POLICY_FIELD, own_policies | policies), (LIMIT_FIELD, own_limits | limits))
    return [(name, ", ".join(f"{item}{said}" for item, said in items.items()).encode()) for name, items in joined]


Items = dict[str, str]
"""Maps names, with their quotes, to parameters."""


def _is_stricter(name: str, policies: Items, limits: Items, own_policies: Items, own_limits: Items) -> bool:
    """Return whether the backend is stricter on a policy that we have too."""
    letter, theirs, ours = ("r", limits, own_limits) if name in limits else ("q", policies, own_policies)
    their, our = (_number(letter, items.get(name, "")) for items in (theirs, ours))
    return their is not None and our is not None and their < our


def _number(letter: str, parameters: str) -> int | None:
    found = _NUMBER[letter].search(parameters)
    return int(found[1]) if found else None


def _parse(values: Sequence[bytes]) -> Items:
    """Return the items of a list, the last one of a repeated name; empty if it is malformed (RFC 9651 4.2)."""
    text = b", ".join(values).decode("latin-1").strip(" ")
    items: Items = {}
    position = 0
    while position < len(text):
        match = _ITEM.match(text, position)
        if match is None:
            return {}
        items[match[1]] = match[2]
        separator = _SEPARATOR.match(text, match.end())
        position = separator.end() if separator else match.end()
        if (separator is None) != (position == len(text)):  # no comma in between, or one at the end
            return {}
    return items
