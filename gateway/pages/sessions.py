"""Visitors of a page: signed in with a token, remembered by a session, identified by a cookie.

Rule 1: a visitor signs in with a token that works: an admin token that may read, or one of a policy that holds the
scope which the policy names for it (`sign_in_scope`). Every request checks it again, by the checks of every request
(core/admission/decision.py), so its revocation ends the session at once. Another way to sign in (OpenID Connect, say)
is another class with `open`: a session names a token.
Rule 2: a change needs a form of the session's own pages: the form's token, and a browser that does not report that
another site sent it. A request with a token of its own (the management API) has no session and needs neither.
Rule 3: an address that presents too many invalid tokens is refused before they are checked.
"""

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from gateway.adapters.ports import FailedCredentials, PolicySource
from gateway.core.admission.decision import Authorized
from gateway.core.pages.permissions import EVERYTHING, AccessScope, find_access
from gateway.core.pages.sessions import (
    ID_BYTES,
    LENGTH_SECONDS,
    Session,
    build_id,
    ends_at,
    form_token,
    is_over,
    open_session,
    parse_id,
    seen,
    session_digest,
)
from gateway.core.policies.guarded import require
from gateway.core.policies.model import Rule
from gateway.core.tokens.admin_tokens import ADMIN, READ, RULES, WRITE, is_admin
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.whoami import identity_rule
from gateway.management import Management

WRONG_SIGN_INS = "10/minute"
"""The limit of one address: people mistype, and a token of 160 random bits cannot be found by trying."""
MAXIMUM_KEY = 64
ADMINS = "admin"
"""The kind of admin tokens, besides what policies bind tokens to: the kinds that may sign in."""


class Sessions(Protocol):
    """The store of sessions. Every method raises StoreUnavailable if the store did not acknowledge."""

    async def find(self, digest: str) -> Session | None:
        """Return the session, or None if it does not exist or has expired."""
        ...

    async def keep(self, digest: str, session: Session, seconds: int) -> None:
        """Write the session, which expires after so many seconds."""
        ...

    async def renew(self, digest: str, session: Session, seconds: int) -> None:
        """Write the session if it still exists."""
        ...

    async def claim(self, digest: str, key: str, seconds: int) -> bool:
        """Return whether the key is new in the session; it is remembered for so many seconds."""
        ...

    async def end(self, digest: str) -> None:
        """Delete the session."""
        ...


class Visitor(msgspec.Struct, frozen=True):
    """A visitor who is signed in."""

    session_id: str
    record: TokenRecord
    """The record of the token that was signed in with."""
    access: AccessScope
    address: str

    def __repr__(self) -> str:
        return f"Visitor({self.record.identity})"

    @property
    def is_operator(self) -> bool:
        """Whether it is an admin token."""
        return is_admin(self.record)

    def may(self, scope: str) -> bool:
        """Return whether the visitor may do what needs an admin token of this scope. A policy's child may only read."""
        if self.is_operator:
            return not ADMIN.scope_grants[scope].isdisjoint(self.record.scopes.split())
        return scope == READ or not self.record.parent

    @property
    def may_change(self) -> bool:
        """Whether the visitor may change anything."""
        return self.may(WRITE)

    @property
    def giver(self) -> TokenRecord | None:
        """The token that bounds what may be granted; None if nothing does."""
        return None if self.is_operator else self.record

    @property
    def latest(self) -> int | None:
        """The latest expiry that may be granted, in Unix seconds; None for any."""
        return self.giver.expires_at if self.giver else None

    @property
    def form_token(self) -> str:
        """The token in each form."""
        return form_token(self.session_id)

    @property
    def actor(self) -> Actor:
        """The actor in the history."""
        return Actor(self.record.name, "operator" if self.is_operator else "token", self.record.identity, self.address)


class TooManySignIns(Exception):
    """The address has presented too many invalid tokens; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Visitors:
    """The sessions: they are opened, looked up and ended here. `clock` gives Unix seconds."""

    def __init__(
        self,
        sessions: Sessions,
        management: Management,
        policies: PolicySource,
        kinds: frozenset[str],
        failures: FailedCredentials,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._sessions = sessions
        self._management = management
        self._policies = policies
        self._kinds = kinds
        self._failures = failures
        self._clock = clock
        self._random_bytes = random_bytes

    async def sign_in(self, text: str, address: str) -> str | None:
        """Return the id of a new session for the holder of a token, or None if the token may not sign in.

        Raise TooManySignIns after too many failures of the address.
        """
        retry_after = self._failures.retry_after(address)
        if retry_after is not None:
            raise TooManySignIns(retry_after)
        view = await self._management.find_presented(text)
        if view is None:  # a token that exists is no guess, although it may open nothing
            self._failures.record_failure(address)
            return None
        if await self._admit(view.identity) is None:
            return None
        session_id, now = build_id(self._random_bytes(ID_BYTES)), int(self._clock())
        session = open_session(view.identity, now)
        await self._sessions.keep(session_digest(session_id), session, ends_at(session) - now)
        return session_id

    async def find(self, cookie: str, address: str) -> Visitor | None:
        """Return the visitor of the cookie, or None if it names no session, or one that has ended."""
        session_id = parse_id(cookie)
        if session_id is None:
            return None
        digest, now = session_digest(session_id), int(self._clock())
        session = await self._sessions.find(digest)
        if session is None:
            return None
        found = None if is_over(session, now) else await self._admit(session.token)
        if found is None:
            await self._sessions.end(digest)
            return None
        renewed = seen(session, now)
        if renewed is not None:
            await self._sessions.renew(digest, renewed, ends_at(renewed) - now)
        return Visitor(session_id, *found, address)

    async def is_first(self, visitor: Visitor, form_key: str) -> bool:
        """Return whether a form that creates something is sent for the first time: reloading a page sends it again."""
        return await self._sessions.claim(session_digest(visitor.session_id), form_key[:MAXIMUM_KEY], LENGTH_SECONDS)

    async def sign_out(self, cookie: str) -> None:
        """End the session of a cookie, if there is one."""
        session_id = parse_id(cookie)
        if session_id is not None:
            await self._sessions.end(session_digest(session_id))

    async def _admit(self, identity: str) -> tuple[TokenRecord, AccessScope] | None:
        """Return the record of a token that may sign in, and its reach, or None."""
        verdict = await self._management.examine(identity, self._find_rule)
        record = verdict.facts.record if isinstance(verdict, Authorized) else None
        if record is None:
            return None
        access = EVERYTHING if is_admin(record) else find_access(record, self._policies.current.policies)
        return (record, access) if access is not None else None

    def _find_rule(self, record: TokenRecord) -> Rule | None:
        """Return the rule that a token must pass to sign in, or None if tokens of its kind may not."""
        if is_admin(record):
            return RULES[READ] if ADMINS in self._kinds else None
        policy = self._policies.current.policies.get(record.policy)
        if policy is None or not policy.sign_in_scope or policy.bound_to not in self._kinds:
            return None
        return require(identity_rule(policy), (policy.sign_in_scope,))


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Return whether a browser reports that another site sent the form (Fetch Metadata; the Origin of RFC 6454)."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
