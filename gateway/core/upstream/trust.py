"""What a backend believes of a client that reaches it past the gateway: the fields that are tried, and the verdict.

A backend that takes the gateway's word must be reachable for the gateway only, or verify assertions. Nothing here asks:
adapters/backend_probe.py does.
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.core.http.messages import Field
from gateway.core.upstream.client_fields import ASSERTION_FIELD, IDENTITY_FIELDS

FORGED_ASSERTION = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcGVyYXRvciIsIm93bmVyIjoib3BlcmF0b3IifQ."
"""A JWT that nobody has signed: `alg` is none."""


class ProbeAnswer(msgspec.Struct, frozen=True):
    """What a backend answered to one request."""

    status: int
    digest: str
    """Of the content."""


class NoAnswer(msgspec.Struct, frozen=True):
    """Why there was no answer."""

    reason: str


class Trust(msgspec.Struct, frozen=True):
    """A finding: what the backend believes, and what to do."""

    what: str
    advice: str


def build_probes(project: str, owner: str) -> Mapping[str, list[Field]]:
    """Return the fields that are forged, by what they are; `project` and `owner` are what a thief would want to be."""
    values = {
        b"x-gateway-token-id": b"0" * 24,
        b"x-gateway-token-name": b"forged",
        b"x-gateway-project": project.encode(),
        b"x-gateway-owner": owner.encode(),
        b"x-gateway-scopes": b"read write admin",
    }
    return {
        "X-Gateway-Owner, -Project and -Scopes": [(name, values[name]) for name in IDENTITY_FIELDS],
        "an X-Gateway-Assertion that nobody signed": [(ASSERTION_FIELD, FORGED_ASSERTION)],
        "X-Forwarded-For and X-Real-IP": [(b"x-forwarded-for", b"127.0.0.1"), (b"x-real-ip", b"127.0.0.1")],
        "X-Forwarded-Host": [(b"x-forwarded-host", b"localhost")],
        "X-Original-URL and X-Rewrite-URL": [(b"x-original-url", b"/admin"), (b"x-rewrite-url", b"/admin")],
    }


ADVICE = {
    "X-Gateway-Owner, -Project and -Scopes": "let nobody but the gateway reach it, or verify X-Gateway-Assertion",
    "an X-Gateway-Assertion that nobody signed": "verify its signature with /-/jwks.json, and refuse `alg` none",
    "X-Forwarded-For and X-Real-IP": "believe them only from the gateway's address",
    "X-Forwarded-Host": "believe it only from the gateway's address",
    "X-Original-URL and X-Rewrite-URL": "turn off what reads them in its framework",
}


def judge(
    ask: Callable[[list[Field]], ProbeAnswer | NoAnswer], probes: Mapping[str, list[Field]]
) -> list[Trust] | NoAnswer:
    """Return what is wrong with a backend, the first that it answers at all; or why nobody reaches it from here.

    `ask` sends a request with some fields. Content counts only if two equal requests have the same.
    """
    plain, again = ask([]), ask([])
    if isinstance(plain, NoAnswer):
        return plain
    is_stable = plain == again
    found = [
        Trust(
            f"answers {plain.status} to a client that comes past the gateway",
            "let only the gateway reach it: a network policy, a firewall, a socket, or client certificates",
        )
    ]
    for what, fields in probes.items():
        forged = ask(fields)
        if isinstance(forged, ProbeAnswer) and (forged.status != plain.status or (is_stable and forged != plain)):
            found.append(
                Trust(f"believes {what}: it answers {forged.status} and not {plain.status}", ADVICE[what])
                if forged.status != plain.status
                else Trust(f"believes {what}: its content differs", ADVICE[what])
            )
    return found
