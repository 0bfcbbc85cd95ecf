"""The fields that a backend gets if an answer is fetched for the cache: variants are chosen by them (RFC 9111 4.1).

The gateway drops fields of clients, and adds its own: an answer varies by what its backend got, not by what was sent.
"""

from collections.abc import Collection

from gateway.core.admission.decision import effective_scopes
from gateway.core.admission.outcomes import Authorized
from gateway.core.cache.model import Selection, select
from gateway.core.http.messages import Field, Fields, RequestHead
from gateway.core.upstream.forwarding import build_request_fields, edit_fields, passes_as_it_is

CONDITIONAL_FIELDS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""Not passed on where the answer is to be stored: the gateway wants all of it, and answers these itself."""

KEPT_BACK = CONDITIONAL_FIELDS | {b"accept-encoding"}
AS_IT_IS: Field = (b"accept-encoding", b"identity")
"""What the backend is asked for in the place of a client's Accept-Encoding: the gateway encodes what it stores."""


def build_fields(request: RequestHead, admission: Authorized, dropped: frozenset[bytes] = frozenset()) -> list[Field]:
    """Return the fields of an authorised request for its backend, before the policy has them changed."""
    scopes = effective_scopes(admission.rule, admission.facts) if admission.record else ""
    return build_request_fields(request, admission.rule.policy, admission.record, scopes, dropped)


def build_whole_fields(request: RequestHead, admission: Authorized) -> list[Field]:
    """Return the fields of a request for all of an answer, as it is."""
    return [*build_fields(request, admission, KEPT_BACK), AS_IT_IS]


def read_selection(names: Collection[bytes], request: RequestHead, admission: Authorized) -> Selection:
    """Return what the backend gets in the fields named."""
    return select(names, backend_fields(names, request, admission))


def backend_fields(names: Collection[bytes], request: RequestHead, admission: Authorized) -> Fields:
    """Return fields that have what the backend gets in those named.

    These are the client's own where all of them pass as they are, which costs nothing.
    """
    policy = admission.rule.policy
    if passes_as_it_is(names, request.fields, policy, KEPT_BACK):
        return request.fields
    fields, edits = build_whole_fields(request, admission), policy.upstream.request_edits
    return fields if edits is None else edit_fields(fields, edits)
