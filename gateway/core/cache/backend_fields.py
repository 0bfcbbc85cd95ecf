"""The request fields that a backend gets when an answer is fetched for the cache, which select variants (RFC 9111 4.1).

A client can send fields that no backend gets, and a backend gets fields that no client sends: an answer varies by what
the backend got.
"""

from collections.abc import Collection

from gateway.core.admission.decision import Authorized, effective_scopes
from gateway.core.cache.model import Selection, select
from gateway.core.http.messages import Field, Fields, RequestHead
from gateway.core.upstream.forwarding import build_request_fields, edit_fields, passes_as_it_is

CONDITIONAL_FIELDS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""Fields not passed on if the answer is to be stored: the gateway needs all of it, and answers these itself."""

KEPT_BACK = CONDITIONAL_FIELDS | {b"accept-encoding"}
AS_IT_IS: Field = (b"accept-encoding", b"identity")
"""Replaces a client's Accept-Encoding: the backend is asked for plain content, because the gateway encodes it."""


def build_fields(request: RequestHead, admission: Authorized, dropped: frozenset[bytes] = frozenset()) -> list[Field]:
    """Return the fields of an authorised request for its backend, before the policy's edits."""
    scopes = effective_scopes(admission.rule, admission.facts) if admission.facts.record else ""
    return build_request_fields(request, admission.rule.policy, admission.facts.record, scopes, dropped)


def build_whole_fields(request: RequestHead, admission: Authorized) -> list[Field]:
    """Return the fields of a request for a whole answer in plain content."""
    return [*build_fields(request, admission, KEPT_BACK), AS_IT_IS]


def read_selection(names: Collection[bytes], request: RequestHead, admission: Authorized) -> Selection:
    """Return the values of the named fields that the backend gets."""
    return select(names, backend_fields(names, request, admission))


def backend_fields(names: Collection[bytes], request: RequestHead, admission: Authorized) -> Fields:
    """Return fields that have the backend's values of the named ones.

    They are the client's own if all of them pass unchanged, which costs nothing.
    """
    policy = admission.rule.policy
    if passes_as_it_is(names, request.fields, policy, KEPT_BACK):
        return request.fields
    fields, edits = build_whole_fields(request, admission), policy.upstream.request_edits
    return fields if edits is None else edit_fields(fields, edits)
