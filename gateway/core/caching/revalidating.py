"""What a 304 (Not Modified) of the backend changes of a stored answer (RFC 9111 4.3.4, 3.2)."""

from gateway.core.caching.entries import StoredHead
from gateway.core.caching.storing import NEVER_STORED, build_head
from gateway.core.fields import build_http_date
from gateway.core.forwarding import end_to_end_fields
from gateway.core.messages import Fields, RequestHead, ResponseHead, field_value, without_fields
from gateway.core.outcomes import Authorized

NOT_UPDATED = frozenset({b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag"})
"""What belongs to the content that is stored: a 304 has none of its own."""


def freshened(stored: StoredHead, answer: ResponseHead, now: int) -> ResponseHead:
    """The stored answer as the 304 has it now: its fields replace those of the same name.

    A 304 without a Date was made `now` (RFC 9110 6.6.1): with the old Date the answer would be old again at once.
    """
    new = without_fields(end_to_end_fields(answer.fields), NOT_UPDATED)
    if field_value(new, b"date") is None:
        new.append((b"date", build_http_date(now // 1000)))
    kept = without_fields(stored.fields, frozenset(name for name, _ in new))
    return ResponseHead(stored.status, [*kept, *new])


def freshen_head(
    admission: Authorized, request: RequestHead, stored: StoredHead, response: ResponseHead, now: int
) -> StoredHead:
    """The head of what `freshened` gave; `now` is when the backend was asked."""
    fields: Fields = without_fields(response.fields, NEVER_STORED - {b"content-length"})
    return build_head(admission, request, response, fields, stored.tag, stored.digest, stored.length, now)
