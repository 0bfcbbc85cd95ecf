"""Alerts to operators by a webhook: what happened to which token, signed (Standard Webhooks 1.0).

Rule 1: an alert has an id that follows from what happened. A receiver that gets it twice can tell.
Rule 2: an alert has identifiers and names of tokens, never a text of one; whatever looks like one is masked.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from gateway.core.http.fields import build_timestamp
from gateway.core.tokens.audit import AuditEntry
from gateway.core.tokens.records import TokenRecord

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)
"""How long a secret is (Standard Webhooks, "Symmetric")."""
NOTICE_SECONDS = 14 * 86400
"""Seconds before its end at which a token raises an alert, if it was made for longer."""
MOST_TOKENS = 100
"""Tokens that one alert of a revocation lists; `count` counts all."""
DAY_SECONDS = 86400

Mask = Callable[[str], str]


class AlertType(StrEnum):
    """What happened."""

    LEAKED = "token.leaked"
    LEAKED_USE = "token.leaked_use"
    EXPIRING = "token.expiring"
    REVOKED = "token.revoked"
    RELOAD_FAILED = "policies.reload_failed"


class AlertData(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The details; what does not apply is absent."""

    token: str = ""
    """Its id."""
    name: str = ""
    policy: str = ""
    project: str = ""
    owner: str = ""
    expires_at: str = ""
    client: str = ""
    """The address that used it."""
    url: str = ""
    """Where it was found."""
    source: str = ""
    """In what it was found there, in the words of the report."""
    action: str = ""
    """What was done: `revoked` or `none`."""
    by: str = ""
    """Who revoked."""
    count: int = 0
    """How many tokens were revoked."""
    tokens: tuple[str, ...] = ()
    """Their ids, the first hundred."""
    mistakes: tuple[str, ...] = ()
    """What is wrong with the policy files."""


class Alert(msgspec.Struct, frozen=True):
    """One event, as it is sent."""

    type: AlertType
    id: str
    timestamp: str
    data: AlertData


def _build(type_: AlertType, now: int, what: Sequence[object], data: AlertData) -> Alert:
    """Return an alert whose id follows from its type and from `what` happened."""
    digest = hashlib.sha256(msgspec.json.encode([type_, *what])).hexdigest()[:32]
    return Alert(type_, f"msg_{digest}", build_timestamp(now).decode(), data)


def _about(record: TokenRecord, mask: Mask) -> AlertData:
    return AlertData(
        token=record.identity,
        name=mask(record.name),
        policy=record.policy,
        project=mask(record.project),
        owner=mask(record.owner),
        expires_at="" if record.expires_at is None else build_timestamp(record.expires_at).decode(),
    )


def tell_leak(record: TokenRecord, url: str, source: str, revoked: Sequence[str] | None, now: int, mask: Mask) -> Alert:
    """Return the alert of a leak report; `revoked` are the tokens that it revoked, None if it revokes nothing."""
    data = msgspec.structs.replace(
        _about(record, mask),
        url=mask(url),
        source=mask(source),
        action="none" if revoked is None else "revoked",
        count=len(revoked or ()),
        tokens=tuple(revoked or ())[:MOST_TOKENS],
    )
    return _build(AlertType.LEAKED, now, (record.identity, url), data)


def tell_leaked_use(record: TokenRecord, client: str, now: int, mask: Mask) -> Alert:
    """Return the alert of a leaked token that somebody uses after its revocation: once a day and address."""
    data = msgspec.structs.replace(_about(record, mask), client=client)
    return _build(AlertType.LEAKED_USE, now, (record.identity, client, now // DAY_SECONDS), data)


def is_expiring(record: TokenRecord, now: int) -> bool:
    """Return whether the token's end is near, and it was made for longer than that."""
    ends = record.expires_at
    return ends is not None and ends - record.created_at > NOTICE_SECONDS and now < ends <= now + NOTICE_SECONDS


def tell_expiring(record: TokenRecord, now: int, mask: Mask) -> Alert:
    """Return the alert of a token that is used and ends soon: once for each end."""
    return _build(AlertType.EXPIRING, now, (record.identity, record.expires_at), _about(record, mask))


def tell_revocations(entries: Sequence[AuditEntry], now: int, mask: Mask) -> list[Alert]:
    """Return an alert for each actor and policy of these entries of the history."""
    groups: dict[tuple[str, str], list[AuditEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.actor.title, entry.policy), []).append(entry)
    alerts = []
    for (by, policy), group in groups.items():
        tokens = sorted({entry.target for entry in group})
        data = AlertData(policy=policy, by=mask(by), count=len(tokens), tokens=tuple(tokens[:MOST_TOKENS]))
        if len(tokens) == 1:
            (name, project, owner) = (mask(text) for text in (group[0].name, group[0].project, group[0].owner))
            data = msgspec.structs.replace(data, token=tokens[0], name=name, project=project, owner=owner)
        alerts.append(_build(AlertType.REVOKED, now, (by, policy, tokens), data))
    return alerts


def tell_reload(mistakes: Sequence[str], now: int, mask: Mask) -> Alert:
    """Return the alert of policy files that cannot be served."""
    data = AlertData(mistakes=tuple(map(mask, mistakes[:MOST_TOKENS])), count=len(mistakes))
    return _build(AlertType.RELOAD_FAILED, now, (*mistakes, now // DAY_SECONDS), data)


def parse_secret(text: str) -> bytes:
    """Return the key of a secret such as `whsec_...`. Raise ValueError that says what is wrong, without the secret."""
    try:
        key = b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (Error, ValueError):
        key = b""
    if len(key) not in SECRET_BYTES:
        raise ValueError(
            f"not {SECRET_PREFIX} and base64 of {SECRET_BYTES.start} to {SECRET_BYTES.stop - 1} bytes: "
            f"`echo {SECRET_PREFIX}$(openssl rand -base64 32)` makes one"
        )
    return key


def sign(key: bytes, identity: str, timestamp: int, content: bytes) -> str:
    """Return the value of webhook-signature: HMAC-SHA256 of id, time and content, joined by dots."""
    signed = b"%b.%d.%b" % (identity.encode(), timestamp, content)
    return f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
