"""Sessions of the developer page.

Rule 1: a session is no credential of its own. It names the token that opened it, and holds only while that token works:
a revoked token's session ends with the next request.
Rule 2: it ends IDLE_SECONDS after its last request, and LENGTH_SECONDS after signing in, whatever happens.
Rule 3: its id is only in the cookie: Redis has a digest, and forms a text that is derived from it.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode

import msgspec

IDLE_SECONDS = 1800
"""Half an hour: an unattended desk is not signed in after lunch (OWASP's advice for idle timeouts)."""
LENGTH_SECONDS = 12 * 3600
"""Twelve hours: a working day."""
RESOLUTION_SECONDS = 60
"""The precision of the last request's time, so that not every click writes to Redis."""
ID_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM_PURPOSE = b"form"


class Session(msgspec.Struct, frozen=True, array_like=True):
    """The record of a session in Redis. Times are Unix seconds."""

    token: str
    """The id of the token that signed in."""
    opened_at: int
    seen_at: int


def open_session(token_id: str, now: int) -> Session:
    """Return a new session of a token."""
    return Session(token_id, now, now)


def build_id(random_bytes: bytes) -> str:
    """Build the text of a cookie from random bytes. Raise ValueError for fewer than ID_BYTES."""
    if len(random_bytes) < ID_BYTES:
        raise ValueError(f"a session's id needs {ID_BYTES} random bytes, got {len(random_bytes)}")
    return urlsafe_b64encode(random_bytes[:ID_BYTES]).rstrip(b"=").decode()


def parse_id(text: str) -> str | None:
    """Return the id in a cookie, or None if it is malformed, so that it never reaches Redis."""
    return text if _ID.fullmatch(text) else None


def session_digest(session_id: str) -> str:
    """Return the name of a session in Redis: 64 hex digits. The id has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def ends_at(session: Session) -> int:
    """Return the second from which the session no longer holds, if there are no further requests."""
    return min(session.seen_at + IDLE_SECONDS, session.opened_at + LENGTH_SECONDS)


def is_over(session: Session, now: int) -> bool:
    """Return whether the session has ended by `now`."""
    return now >= ends_at(session)


def seen(session: Session, now: int) -> Session | None:
    """Return the session after a request, or None if the change is too small to write."""
    if now - session.seen_at < RESOLUTION_SECONDS:
        return None
    return msgspec.structs.replace(session, seen_at=now)


def form_token(session_id: str) -> str:
    """Return the token in each form of the session (row C12): another site can send a form, but cannot know it."""
    return hmac.new(session_id.encode(), _FORM_PURPOSE, "sha256").hexdigest()


def is_form_token(text: str, session_id: str) -> bool:
    """Return whether a form came from this session's own pages; the comparison takes constant time."""
    return hmac.compare_digest(text.encode(), form_token(session_id).encode())
