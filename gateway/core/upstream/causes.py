"""Causes of a missing answer of a backend, in one word for records and one sentence for the log. The set is closed."""

from collections.abc import Mapping
from enum import StrEnum


class Cause(StrEnum):
    """The values of `upstream_error` in an access record."""

    UNRESOLVABLE = "unresolvable"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_WRONG_NAME = "certificate_wrong_name"
    CERTIFICATE_SELF_SIGNED = "certificate_self_signed"
    CERTIFICATE_UNKNOWN_AUTHORITY = "certificate_unknown_authority"
    CERTIFICATE_INVALID = "certificate_invalid"
    PLAIN_HTTP = "plain_http"
    HTTP2_ONLY = "http2_only"
    TLS_FAILED = "tls_failed"
    TLS_TIMEOUT = "tls_timeout"
    BUSY = "busy"
    NO_DESCRIPTOR = "no_descriptor"
    RESPONSE_TIMEOUT = "response_timeout"
    CONNECTION_LOST = "connection_lost"
    BROKEN_ANSWER = "broken_answer"
    BROKEN_DOCUMENT = "broken_document"


ADVICE: Mapping[Cause, str] = {
    Cause.UNRESOLVABLE: "its name has no address; check the URL and DNS",
    Cause.REFUSED: "nothing listens there; check that it runs, and the port",
    Cause.UNREACHABLE: "the network does not reach it; check routes and firewalls",
    Cause.CONNECT_TIMEOUT: "it took no connection in time; check firewalls, and how busy it is",
    Cause.CERTIFICATE_EXPIRED: "its certificate has expired; renew it there",
    Cause.CERTIFICATE_WRONG_NAME: "its certificate is for another name; set server_name in the policy's tls",
    Cause.CERTIFICATE_SELF_SIGNED: "its certificate is self-signed; name it as ca in the policy's tls",
    Cause.CERTIFICATE_UNKNOWN_AUTHORITY: "nobody here trusts who issued its certificate; set ca in the policy's tls",
    Cause.CERTIFICATE_INVALID: "its certificate is not valid",
    Cause.PLAIN_HTTP: "it speaks plain HTTP at an https URL; write http, or the port that speaks TLS",
    Cause.HTTP2_ONLY: "it speaks HTTP/2 only; the gateway needs HTTP/1.1 there",
    Cause.TLS_FAILED: "no TLS session came about; check the versions that it speaks, and the policy's tls",
    Cause.TLS_TIMEOUT: "no TLS session in time; check that the port speaks TLS, not plain HTTP, and check firewalls",
    Cause.BUSY: "it has all the requests that it may have; raise max_connections, or make it faster",
    Cause.NO_DESCRIPTOR: "this process has no file descriptor left for a connection; raise its limit",
    Cause.RESPONSE_TIMEOUT: "it did not answer in time; check what keeps it busy",
    Cause.CONNECTION_LOST: "it closed the connection before its answer was complete; check its own log",
    Cause.BROKEN_ANSWER: "its answer is not HTTP/1.1 as it should be; check its own log",
    Cause.BROKEN_DOCUMENT: "its document is not what the policy says; check the place in it",
}
"""What each cause means, and what an operator can do."""
