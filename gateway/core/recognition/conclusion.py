"""What a request whose bytes are known is answered with, for as long as Redis says the same of it.

Rule 1: what Redis says of a request is compared here with what it said when the answer was learnt. Compared is all but
the last use of a record and the numbers of quotas. What is not compared may flow into holes, and nowhere else.
Rule 2: a conclusion holds from the instant at which it was learnt until the next instant at which any check, any
override, the freshness of what is stored or the notice of a token's end would say something else.

`FIELDS` says of each field of the facts, the record and the kin how it is treated; a test holds the table to them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.core.admission.decision import AdmissionFacts
from gateway.core.admission.outcomes import EXPIRY_NOTICE_SECONDS
from gateway.core.cache.model import StoredHead
from gateway.core.http.tracing import draw_ids
from gateway.core.quotas.model import NEAR_SHARE, Quota, Window, exceeded, retry_after_seconds
from gateway.core.recognition.form import Values
from gateway.core.recognition.lesson import Question
from gateway.core.recognition.passage import Answer, Passage
from gateway.core.tokens.records import TokenRecord, build_time, without_use

FOREVER = 2**63 - 1
FIRST_USED = 5
"""Where a reply begins to tell of quotas: of each the units used, and the instant of the reset (charging.lua)."""

Treatment: TypeAlias = Literal["compared", "hole", "question", "derived"]
"""Compared with what was learnt; a number that flows into holes; a part of what Redis is asked, which the bytes of the
request decide; or worked out from the others."""

FIELDS: dict[str, Treatment] = {
    "request": "question",
    "now": "hole",
    "record": "compared",
    "is_revoked": "compared",
    "is_charged": "compared",
    "windows": "hole",
    "stored_heads": "compared",
    "restrictions": "compared",
    "cost": "derived",
    "exists": "derived",
    "exports_at": "derived",
    "reply": "compared",
}
"""The fields of AdmissionFacts."""
RESTRICTION_FIELDS: dict[str, Treatment] = {"owner": "compared", "parent": "compared", "is_parent_revoked": "compared"}
"""The fields of Restrictions."""
REQUEST_FIELDS: dict[str, Treatment] = {
    **dict.fromkeys(
        (
            "method",
            "path",
            "query",
            "fields",
            "scheme",
            "client",
            "forwarded_for",
            "host",
            "authority",
            "upgrade",
            "fault",
        ),
        "question",
    ),
    "id": "hole",
    "received_at": "hole",
    "inform": "derived",
    "is_gone": "derived",
    "answered": "derived",
    "lesson": "derived",
}
"""The fields of RequestHead: all that the bytes, the address and the scheme of a request decide is in its key."""


class Moving(msgspec.Struct, frozen=True, gc=False):
    """How the numbers of a response are worked out of a reply. Instants are Unix milliseconds."""

    quotas: tuple[Quota, ...] = ()
    """All that were looked at, in the order of the reply."""
    announced: tuple[tuple[int, int, bool], ...] = ()
    """Of those that are announced: where the reply has it, its capacity, and whether it has a t."""
    near_from: tuple[float, ...] = ()
    """From how many units each of the quotas is near its limit."""
    cost: int = 0
    """Units that each of the quotas is asked for."""
    violated: tuple[str, ...] = ()
    """The names of the quotas without room, if that is why the request is refused."""
    who: str = ""
    """Whose share of the spread of Retry-After it is."""
    stored_at: int = 0
    initial_age: int = 0
    fresh_until: int = 0
    """Of the stored answer that is used; 0 if none is."""


class Conclusion(msgspec.Struct, frozen=True, gc=False):
    """What was concluded from one reply of Redis, and the form of the response. Instants are Unix milliseconds."""

    record: bytes
    """As it is stored, without its last use; empty for a token that nobody minted, and under a public rule."""
    revoked: int
    charged: int
    heads: tuple[bytes, ...]
    kin: tuple[Any, ...]
    """Of owner and parent, the parent's record without its last use."""
    length: int
    """Of the reply: the same quotas were looked at, and the same ones of them charged."""
    since: int
    until: int
    moving: Moving
    answer: Answer | Passage
    """What the client gets; or what a backend is sent for it, and how its answers are passed on."""
    content: tuple[str, bytes, bytes] | None
    """Name, digest and coding of the content, if it is one that is stored."""
    content_hash: int
    """Of that content: another process may have encoded it to other bytes, which the head does not describe."""
    leased: tuple[tuple[str, Quota], ...]
    """The keys of the counters that count the request among those in flight."""
    is_authenticated: bool
    """Whether a good token was presented, whatever it may not do."""
    is_guess: bool
    """Whether it counts as a failed credential."""
    is_hit: bool
    """Whether a stored answer is used."""


def build_moving(
    quotas: tuple[Quota, ...], cost: int, violated: tuple[str, ...], who: str, head: StoredHead | None
) -> Moving:
    """Return how the numbers are worked out; `head` is that of the stored answer that is used."""
    announced = tuple(
        [
            (FIRST_USED + 2 * number, quota.capacity, not quota.is_concurrency)
            for number, quota in enumerate(quotas)
            if not quota.is_shadow
        ]
    )
    near_from = tuple([NEAR_SHARE * quota.capacity for quota in quotas])
    stored = (head.stored_at, head.initial_age, head.fresh_until) if head is not None else (0, 0, 0)
    return Moving(quotas, announced, near_from, cost, violated, who, *stored)


def compared(reply: Sequence[Any]) -> tuple[bytes, int, int, tuple[bytes, ...], tuple[Any, ...], int]:
    """Return the first fields of a conclusion, as a reply has them."""
    raw, revoked, charged, heads, kin, *_ = reply
    return without_use(raw), revoked, charged, tuple(heads or ()), _compared_kin(kin) if kin else (), len(reply)


def is_alike(one: Conclusion, other: Conclusion) -> bool:
    """Return whether two conclusions of a request follow from equal replies, and hold until the same instant."""
    return all(getattr(one, name) == getattr(other, name) for name in _ALIKE)


_ALIKE = ("record", "revoked", "charged", "heads", "kin", "length", "until", "moving", "leased")


def still_holds(it: Conclusion, now: int, reply: Sequence[Any]) -> bool:
    """Return whether a reply of the admission script, made at `now`, leads to the same response but for its holes."""
    return (
        it.since <= now < it.until
        and reply[1] == it.revoked
        and reply[2] == it.charged
        and len(reply) == it.length
        and without_use(reply[0]) == it.record
        and (tuple(reply[3]) if reply[3] else ()) == it.heads
        and (_compared_kin(reply[4]) if reply[4] else ()) == it.kin
    )


def _compared_kin(kin: Sequence[Any]) -> tuple[Any, ...]:
    """Return what a reply tells of owner and parent, the parent's record without its last use."""
    status, scopes, parent, is_revoked, plan = kin
    return (status, scopes, without_use(parent), is_revoked, plan)


def read_numbers(it: Moving, now: int, reply: Sequence[Any]) -> Values | None:
    """Return Age, ttl, Retry-After, then r and t of each announced quota; None if other quotas refuse the request."""
    age = ttl = retry_after = None
    if it.fresh_until:
        age = it.initial_age + max(0, now - it.stored_at) // 1000
        ttl = (it.fresh_until - now) // 1000
    numbers: list[int] = []
    for position, capacity, has_reset in it.announced:
        left = capacity - reply[position]
        numbers.append(left if left > 0 else 0)
        if has_reset:
            wait = reply[position + 1] - now
            numbers.append(-(-wait // 1000) if wait > 0 else 0)
    if it.violated:
        windows = exceeded(_read_windows(it.quotas, reply), it.cost)
        if tuple([window.quota.name for window in windows]) != it.violated:
            return None
        retry_after = retry_after_seconds(windows, now, it.who)
    return (age, ttl, retry_after, *numbers)


def _read_windows(quotas: Sequence[Quota], reply: Sequence[Any]) -> Iterable[Window]:
    waits = FIRST_USED + 2 * len(quotas)
    for index, quota in enumerate(quotas):
        used = FIRST_USED + 2 * index
        yield Window(quota, reply[used], reply[used + 1], reply[waits + index])


def near_quotas(it: Moving, reply: Sequence[Any]) -> list[str]:
    """Return the names of the quotas that are near their limits (Window.is_near)."""
    return [
        it.quotas[number].name
        for number, near_from in enumerate(it.near_from)
        if reply[FIRST_USED + 2 * number] >= near_from
    ]


def quota_templates(quotas: Iterable[Quota]) -> list[str]:
    """Return how each announced quota is written in RateLimit, with %d for r and for t; names have no percent sign."""
    return [
        f'"{quota.name}";r=%d' if quota.is_concurrency else f'"{quota.name}";r=%d;t=%d'
        for quota in quotas
        if not quota.is_shadow
    ]


def ends_of(facts: AdmissionFacts, head: StoredHead | None) -> int:
    """Return the next instant at which something else may be concluded from the same reply."""
    instants = [moment for one in (facts.record, facts.restrictions.parent) if one for moment in _instants_of(one)]
    if head is not None:
        instants.append(head.fresh_until)
    return min([instant for instant in instants if instant > facts.now], default=FOREVER)


def _instants_of(record: TokenRecord) -> Iterable[int]:
    """Return when a check on a record turns, in milliseconds: each is written as `now >= instant`, or its opposite."""
    seconds = [override.until for override in record.overrides]
    if record.not_before is not None:
        seconds.append(record.not_before)
    if record.expires_at is not None:
        seconds += (record.expires_at, record.expires_at - EXPIRY_NOTICE_SECONDS)
    return [second * 1000 for second in seconds]


class Known(msgspec.Struct, gc=False):
    """What is known of the bytes of a request: what Redis is to be asked, and what followed from what it said."""

    question: Question
    client: str
    """The address that failed credentials are counted for."""
    given_id: str
    """The client's X-Request-Id; empty if each request gets a new one."""
    given_trace: str
    """The trace that the client names; empty if each request begins a new one."""
    has_lease: bool
    allowed: Conclusion | None = None
    refused: Conclusion | None = None


def write_near(names: Sequence[str]) -> bytes:
    """Return the member of a line of the access log that names the quotas near their limits; empty if none is."""
    return b',"near":%b' % msgspec.json.encode(names) if names else b""


def line_values(
    it: Known, request_id: str, received_at: float, ended_at: float, decided: int | None, ttl: int | None, near: bytes
) -> Values:
    """Return the values of a line of the access log (form.py).

    Times are Unix seconds, but `decided`: milliseconds, None if the line does not say it.
    """
    trace_id, span_id = draw_ids(request_id, received_at)
    duration = msgspec.json.encode(round(max(0.0, ended_at - received_at), 6))
    trace = it.given_trace or trace_id
    return (
        build_time(received_at).encode(),
        request_id.encode(),
        duration,
        decided,
        ttl,
        near,
        trace.encode(),
        span_id.encode(),
    )


OBJECT_BYTES = 600
"""For the objects of an entry and of one conclusion in it, beside their bytes and texts."""


def size_of(it: Known) -> int:
    """Return about how many bytes of memory an entry takes."""
    size = OBJECT_BYTES + sum(map(len, it.question))
    for found in (it.allowed, it.refused):
        if found is not None:
            size += OBJECT_BYTES + len(found.record) + sum(map(len, found.heads)) + _size_of_answer(found.answer)
    return size


def _size_of_answer(it: Answer | Passage) -> int:
    if isinstance(it, Passage):
        forms = [*it.requests.values(), *[known.head.form for known in it.answers]]
        own = OBJECT_BYTES + sum([len(form.template) for form in forms])
        return own + sum([_size_of_answer(known.answer) for known in it.answers])
    return len(it.response.template) + (len(it.line.template) if it.line is not None else 0)
