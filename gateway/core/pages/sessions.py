"""Sessions of the developer page.

Rule 1: a session is no credential of its own. It names the token that opened it, and holds only while that token works:
a revoked token's session ends with the next request.
Rule 2: it ends IDLE_SECONDS after its last request, and LENGTH_SECONDS after signing in, whatever happens.
Rule 3: its id is in the cookie and nowhere else: Redis has a digest, forms a text that is derived from it.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode

import msgspec

IDLE_SECONDS = 1800
"""Half an hour: a desk that was left is not signed in after lunch (OWASP's advice for idle time-outs)."""
LENGTH_SECONDS = 12 * 3600
"""A working day."""
RESOLUTION_SECONDS = 60
"""How exactly the last request is noted: a page that is clicked through does not write with each click."""
ID_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_FORM_PURPOSE = b"form"


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What Redis holds of one. Times are Unix seconds."""

    token: str
    """The id of the token that signed in."""
    opened_at: int
    seen_at: int


def open_session(token_id: str, now: int) -> Session:
    """A new session of a token."""
    return Session(token_id, now, now)


def build_id(random_bytes: bytes) -> str:
    """The text of a cookie, from ID_BYTES random bytes."""
    if len(random_bytes) < ID_BYTES:
        raise ValueError(f"a session's id needs {ID_BYTES} random bytes, got {len(random_bytes)}")
    return urlsafe_b64encode(random_bytes[:ID_BYTES]).rstrip(b"=").decode()


def parse_id(text: str) -> str | None:
    """The id in a cookie; None for what none can be, which then never reaches Redis."""
    return text if _ID.fullmatch(text) else None


def session_digest(session_id: str) -> str:
    """What Redis knows a session by: 64 hex digits. The id has 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def ends_at(session: Session) -> int:
    """The first second in which the session no longer holds, if nothing more is asked under it."""
    return min(session.seen_at + IDLE_SECONDS, session.opened_at + LENGTH_SECONDS)


def is_over(session: Session, now: int) -> bool:
    """Whether the session has ended by `now`."""
    return now >= ends_at(session)


def seen(session: Session, now: int) -> Session | None:
    """The session after a request; None where that is not worth writing down."""
    if now - session.seen_at < RESOLUTION_SECONDS:
        return None
    return msgspec.structs.replace(session, seen_at=now)


def form_token(session_id: str) -> str:
    """What each form of the session carries (row C12): another site can send a form, but cannot know this."""
    return hmac.new(session_id.encode(), _FORM_PURPOSE, "sha256").hexdigest()


def is_form_token(text: str, session_id: str) -> bool:
    """Whether a form came from this session's own pages; compared in constant time."""
    return hmac.compare_digest(text.encode(), form_token(session_id).encode())
