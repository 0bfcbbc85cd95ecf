"""Decide whether an answer may be stored (RFC 9111 3), and in which form.

Rule 1: everything that prevents storing an answer is in `OBJECTIONS`, with the section that says so.
Rule 2: no rule of a policy allows what a backend forbids. A rule gives lifetimes, and says that answers may be shared.

This includes what a 304 (Not Modified) of the backend changes in a stored answer (RFC 9111 4.3.4, 3.2).
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from gateway.core.admission.decision import Authorized
from gateway.core.cache.backend_fields import read_selection
from gateway.core.cache.freshness import (
    Directives,
    Lifetime,
    directives_for_us,
    initial_age,
    measure_lifetime,
)
from gateway.core.cache.keys import is_cacheable
from gateway.core.cache.model import StoredHead
from gateway.core.cache.reuse import FOR_ORIGINS
from gateway.core.http.content_coding import is_encodable
from gateway.core.http.etags import choose_tag, weaken
from gateway.core.http.fields import build_http_date, is_event_stream, parse_cache_control, parse_http_date, parse_list
from gateway.core.http.messages import (
    Field,
    Fields,
    RequestHead,
    ResponseHead,
    field_value,
    field_values,
    without_fields,
)
from gateway.core.http.tracing import PARENT_FIELD, STATE_FIELD
from gateway.core.policies.model import CacheRule, Rule
from gateway.core.upstream.client_fields import ASSERTION_FIELD
from gateway.core.upstream.forwarding import end_to_end_fields

MAXIMUM_EXPORT_BYTES = 8 * 1024 * 1024
"""Larger content streams through without being stored: a worker must be able to hold what it stores."""

MAXIMUM_SHAPED_BYTES = 32 * 1024 * 1024
"""For documents and the exports made from them: 20,000 texts in 30 languages are up to 24 MiB."""
SOURCE_TAG = b"gateway-source-etag"
"""The field for the document's tag in the head of an export made from it, by which it is validated."""

NEVER_STORED = frozenset(
    {
        b"age",
        b"cache-status",
        b"content-length",  # set for each answer, as the backend may have framed its content differently
        b"ratelimit",
        b"ratelimit-policy",
        b"retry-after",
        b"www-authenticate",
        b"x-request-id",
    }
)
"""Fields about one answer or one client. Set-Cookie is not here: an answer that has it is not stored at all."""

UNDERSTOOD = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411})
UNDERSTOOD |= {412, 413, 414, 415, 417, 421, 422, 426, 429, 431, 451, 500, 501, 502, 503, 504, 505}
"""Statuses whose caching is known here, for must-understand (RFC 9111 5.2.2.3): those of RFC 9110, 6585 and 7725."""

OF_EACH_REQUEST = frozenset({b"*", b"x-request-id", PARENT_FIELD, STATE_FIELD, ASSERTION_FIELD})
"""Names in Vary by which all requests differ, so that a stored answer could match no other request."""

NO_LIFETIME = Lifetime(0, 0, 0, may_be_stale=False, kept=0)
_SHARING = frozenset({"public", "s-maxage", "must-revalidate"})


class Answered(msgspec.Struct, frozen=True):
    """A request and the head of the backend's answer to it, which objections are about."""

    rule: Rule
    request: RequestHead
    head: ResponseHead
    directives: Directives


def _is_other_method(it: Answered) -> bool:
    return it.request.method != "GET" or not is_cacheable(it.rule, it.request)


def _is_part(it: Answered) -> bool:
    return it.head.status in (206, 304)


def _is_not_understood(it: Answered) -> bool:
    return "must-understand" in it.directives and it.head.status not in UNDERSTOOD


def _client_wants_it_unstored(it: Answered) -> bool:
    return "no-store" in parse_cache_control(field_values(it.request.fields, b"cache-control"))


def _backend_wants_it_unstored(it: Answered) -> bool:
    return "no-store" in it.directives and "must-understand" not in it.directives


def _is_about_a_precondition(it: Answered) -> bool:
    return it.head.status == 412 and any(name in FOR_ORIGINS for name, _ in it.request.fields)


def _is_private(it: Answered) -> bool:
    return "private" in it.directives  # also with field names: RFC 9111 5.2.2.7 lets a cache take it for the whole


def _is_for_one_client(it: Answered) -> bool:
    return bool(field_values(it.head.fields, b"set-cookie"))


def _is_authorised_without_leave(it: Answered) -> bool:
    """Return whether the request had a credential, which no backend sees, and nothing allows sharing (RFC 9111 3.5)."""
    has_credential = any(name in it.rule.policy.credential_fields for name, _ in it.request.fields)
    may_share = it.rule.cache is not None and it.rule.cache.may_share
    return has_credential and not may_share and it.directives.keys().isdisjoint(_SHARING)


def _may_have_no_end(it: Answered) -> bool:
    return is_event_stream(it.head.fields)


def _varies_by_request(it: Answered) -> bool:
    return not OF_EACH_REQUEST.isdisjoint(parse_list(field_values(it.head.fields, b"vary")))


OBJECTIONS: tuple[tuple[str, Callable[[Answered], bool]], ...] = (
    ("method", _is_other_method),  # RFC 9111 3: the method is understood; here GET
    ("partial", _is_part),  # 3.3, 4.3.4
    ("must-understand", _is_not_understood),  # 5.2.2.3
    ("client-no-store", _client_wants_it_unstored),  # 5.2.1.5
    ("no-store", _backend_wants_it_unstored),  # 5.2.2.5
    ("precondition", _is_about_a_precondition),  # RFC 9110 15.5.13: it is about this request's If-Match only
    ("private", _is_private),  # 5.2.2.7
    ("event-stream", _may_have_no_end),  # 3: only complete answers are stored
    ("set-cookie", _is_for_one_client),  # 7.3
    ("authorization", _is_authorised_without_leave),  # 3.5
    ("vary", _varies_by_request),  # 4.1
)
BROKEN_CODING = "content-encoding"
"""The objection to content that is not in the coding that it claims."""
OF_ONE_REQUEST = frozenset({"method", "client-no-store", "precondition", "authorization"})
"""Objections to one request's answer only: what is stored for others may still be good."""


def maximum_bytes(rule: Rule) -> int:
    """Return the most bytes of content that are stored."""
    return MAXIMUM_EXPORT_BYTES if rule.variants is None and not rule.source else MAXIMUM_SHAPED_BYTES


def streams_through(rule: Rule, head: ResponseHead) -> bool:
    """Return whether the content is never collected: it is a stream of events, or announced as too long to store."""
    length = field_value(head.fields, b"content-length") or b""
    return is_event_stream(head.fields) or (length.isdigit() and int(length) > maximum_bytes(rule))


def find_objection(rule: Rule, request: RequestHead, head: ResponseHead, now: int) -> str | None:
    """Return why an answer must not be stored, or is not worth it, or None. It does not need the content."""
    answered = Answered(rule, request, head, directives_for_us(head.fields))
    for name, objects in OBJECTIONS:
        if objects(answered):
            return name
    if rule.cache is None or _measure(rule.cache, head, now).kept <= 0:
        return "no-freshness"
    return None


def make_head(
    admission: Authorized,
    request: RequestHead,
    response: ResponseHead,
    content: bytes,
    now: int,
    stored: StoredHead | None = None,
) -> StoredHead:
    """Build the head under which a complete answer is sent and, unless there is an objection, stored.

    `now` is when its fetch began. The rule determines its tag (core/http/etags.py). `stored` is the response stored
    before: if the content is unchanged, so is its tag, and the content need not be parsed again.
    """
    rule, digest = admission.rule, hashlib.sha256(content).digest()
    tag = field_value(response.fields, b"etag") or b""
    if response.status == 200:
        # A document's tag is made from its bytes: by value it would take long, and its variants have tags of their own.
        media_type = None if rule.source else field_value(response.fields, b"content-type")
        encodes = not rule.source and is_encodable(response.status, response.fields, len(content))
        made = _made_tag(stored, media_type) if stored is not None and stored.digest == digest else None
        tag = choose_tag(tag or None, content, media_type, rule.etag, is_encoded=encodes, made=made)
    fields = without_fields(end_to_end_fields(response.fields), NEVER_STORED)
    if field_value(fields, b"date") is None:
        fields.append((b"date", build_http_date(now // 1000)))
    if response.status not in (204, 205):
        fields.append((b"content-length", b"%d" % len(content)))
    return build_head(admission, request, response, fields, tag, digest, len(content), now)


def build_head(
    admission: Authorized,
    request: RequestHead,
    response: ResponseHead,
    fields: Sequence[Field],
    tag: bytes,
    digest: bytes,
    length: int,
    now: int,
) -> StoredHead:
    """Build the head to store for `response` and the content with this digest; answers repeat `fields`."""
    rule = admission.rule
    is_success = 200 <= response.status < 300  # preconditions are for these only (RFC 9110 13.2.1)
    lifetime = _measure(rule.cache, response, now) if rule.cache else NO_LIFETIME
    modified = field_value(fields, b"last-modified") or field_value(fields, b"date") or b""
    return StoredHead(
        status=response.status,
        stored_at=now,
        fresh_until=now + lifetime.fresh * 1000,
        refresh_until=now + lifetime.refresh * 1000,
        stand_in_until=now + lifetime.stand_in * 1000,
        may_be_stale=lifetime.may_be_stale,
        initial_age=initial_age(response.fields, now),
        tag=tag if is_success else b"",
        modified_at=parse_http_date(modified) if is_success else None,
        digest=digest,
        length=length,
        validators=_validators(response.fields),
        varying=read_selection(_varying_names(rule, response.fields), request, admission),
        fields=tuple(fields),
    )


def keep_milliseconds(rule: Rule, response: ResponseHead, now: int) -> int:
    """Return how long the answer is of any use: fresh, stale in an allowed way, or for validation."""
    return _measure(rule.cache, response, now).kept * 1000 if rule.cache else 0


def _measure(cache: CacheRule, head: ResponseHead, now: int) -> Lifetime:
    return measure_lifetime(cache, head.status, head.fields, now, has_validators=bool(_validators(head.fields)))


def _validators(fields: Fields) -> tuple[Field, ...]:
    """Return the backend's own validators as request fields (RFC 9111 4.3.1)."""
    own = ((b"if-none-match", b"etag"), (b"if-modified-since", b"last-modified"))
    pairs = ((b"if-none-match", SOURCE_TAG),) if field_value(fields, SOURCE_TAG) else own
    return tuple((asked, value) for asked, name in pairs if (value := field_value(fields, name)))


def _made_tag(stored: StoredHead, media_type: bytes | None) -> bytes | None:
    """Return the tag that was made from the stored content for the same type, or None if it is a backend's own."""
    own = field_value(stored.fields, b"etag")
    is_made = stored.tag and (own is None or weaken(own) != weaken(stored.tag))
    return stored.tag if is_made and field_value(stored.fields, b"content-type") == media_type else None


def _varying_names(rule: Rule, fields: Fields) -> list[bytes]:
    """Return the names in Vary, once each and sorted, of fields that are passed on.

    Credentials are not. Accept-Encoding is the same for all: every backend is asked for plain content, so its answer to
    this client is its answer to any other, even if it encodes nevertheless.
    """
    own = {b"accept-encoding", *rule.policy.credential_fields}
    return sorted(set(parse_list(field_values(fields, b"vary"))) - own)


NOT_UPDATED = frozenset({b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag"})
"""Fields of the stored content, which a 304 does not change."""


def freshened(stored: StoredHead, answer: ResponseHead, now: int) -> ResponseHead:
    """Return the stored answer's head updated by a 304: its fields replace those of the same name.

    A 304 without a Date was made `now` (RFC 9110 6.6.1): with the old Date, the answer would be stale again at once.
    """
    new = without_fields(end_to_end_fields(answer.fields), NOT_UPDATED)
    if field_value(new, b"date") is None:
        new.append((b"date", build_http_date(now // 1000)))
    kept = without_fields(stored.fields, frozenset(name for name, _ in new))
    return ResponseHead(stored.status, [*kept, *new])


def freshen_head(
    admission: Authorized, request: RequestHead, stored: StoredHead, response: ResponseHead, now: int
) -> StoredHead:
    """Build the head from what `freshened` returned; `now` is when the backend was asked."""
    fields: Fields = without_fields(response.fields, NEVER_STORED - {b"content-length"})
    return build_head(admission, request, response, fields, stored.tag, stored.digest, stored.length, now)
